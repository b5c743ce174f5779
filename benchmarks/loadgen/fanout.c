/* One znode, a watch on it by each of N connections: from sending the change until the last event has arrived. */
#include "loadgen.h"
#include <sys/epoll.h>

enum { READY = 256, SMALL_IN = 1 << 14, MAX_ROUNDS = 10000 };
static const char watched[] = "/bench/k0000000";

typedef struct {
    int fd;
    size_t length;
    unsigned char in[SMALL_IN];
} Watcher;

/* Take messages until every watcher has had one; returns when that was. */
static double one_each(int poll_fd, int watchers, const char *without) {
    unsigned char out[FRAME_BYTES];
    while (watchers > 0) {
        struct epoll_event ready[READY];
        int number = epoll_wait(poll_fd, ready, READY, PATIENT_MS);
        if (number == 0) fail(without, watchers);
        for (int i = 0; i < number; i++) {
            Watcher *one = ready[i].data.ptr;
            ssize_t got = read(one->fd, one->in + one->length, SMALL_IN - one->length);
            if (got <= 0) fail("connection closed by the server", errno);
            one->length += (size_t)got;
            for (size_t taken = 1; taken > 0; memmove(one->in, one->in + taken, one->length -= taken)) {
                Reply reply = {0};
                size_t answer = 0;
                taken = protocol->decode(one->in, one->length, &reply, out, &answer);
                if (answer > 0 && write(one->fd, out, answer) != (ssize_t)answer) fail("write", errno);
                if (reply.err != 0) fail("watch with an error", reply.err);
                if (reply.xid != 0) watchers--;
            }
        }
    }
    return now();
}

static int ascending(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

void watch_fan_out(int connections, double seconds) {
    static double took[MAX_ROUNDS];
    unsigned char frame[FRAME_BYTES];
    int writer = open_session(0, SESSION_MS), poll_fd = epoll_create1(0), rounds = 0, xid = FIRST_XID;
    Watcher *all = calloc((size_t)connections, sizeof *all);
    int *sessions = calloc((size_t)connections, sizeof *sessions);
    for (int i = 0; i < connections; i++) {
        all[i].fd = sessions[i] = open_session(i, SESSION_MS);
        struct epoll_event interest = {.events = EPOLLIN, .data.ptr = &all[i]};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, all[i].fd, &interest);
    }
    for (double until = now() + seconds; rounds < MAX_ROUNDS && (rounds == 0 || now() < until); rounds++) {
        if (rounds == 0 || protocol->watches_once) {
            size_t length = protocol->encode(frame, FIRST_XID, WATCH, watched);
            for (int i = 0; i < connections; i++)
                if (write(all[i].fd, frame, length) != (ssize_t)length) fail("write", errno);
            one_each(poll_fd, connections, "watchers whose get is not answered for ten seconds");
        }
        size_t length = protocol->encode(frame, xid, SET, watched);
        double begun = now();
        if (write(writer, frame, length) != (ssize_t)length) fail("write", errno);
        took[rounds] = (one_each(poll_fd, connections, "watchers without an event for ten seconds") - begun) * 1000;
        if (await(writer, xid++) != 0) fail("set with an error", rounds);
    }
    close_sessions(sessions, connections);
    close_sessions(&writer, 1);
    qsort(took, (size_t)rounds, sizeof *took, ascending);
    printf("{\"rounds\": %d, \"p50_ms\": %.2f, \"max_ms\": %.2f}\n", rounds, took[rounds / 2], took[rounds - 1]);
}
