/* N connections with M requests outstanding on each, one epoll loop.
 *
 * The M slots of a connection each send, wait for the reply and send again. Work `lock` takes three requests a round:
 * create an ephemeral sequential child of the slot's own parent, list the children, delete it. Every reply must be without
 * error, anything else ends the run. `create` deletes its znodes after the measurement, so that the next row meets the same
 * tree on every side, however fast this one was. Prints one line of JSON.
 */
#include "loadgen.h"
#include <sys/epoll.h>

enum { MAX_OUTSTANDING = 1024, SLOWEST_US = 4000000, READY = 64 };

typedef enum { GETS, SETS, CREATES, MIXED, LOCKS, FILL, CLEAN } Work;
static const char *const works[] = {"get", "set", "create", "mixed", "lock", "fill"};

typedef struct {
    Op op;
    double sent_at;
    char path[PATH_BYTES]; /* LOCKS: the parent while creating and listing, then the child made */
    char parent[PATH_BYTES / 2];
} Slot;

typedef struct {
    int fd, next_xid, waits_to_write, unanswered;
    size_t in_length, out_length, out_at;
    unsigned char *in, *out;
    Slot *slots;
    int slot_of[MAX_OUTSTANDING * 16]; /* by xid: with etcd a late reply may be overtaken by many */
} Connection;
enum { XIDS = sizeof((Connection *)0)->slot_of / sizeof(int) };

static Work work;
static int keys, outstanding, stopping;
static long created, deleted, busy, measured, sampled;
static uint32_t histogram[SLOWEST_US + 1];
static double worst_us, from, until;
static uint64_t seed = 88172645463325252ULL;

static uint32_t pick(uint32_t below) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (uint32_t)((seed >> 11) % below);
}

/* What this slot asks for next; false: nothing is left to do. */
static int choose(Slot *slot, const Reply *before) {
    switch (work) {
    case GETS: case SETS: case MIXED:
        slot->op = work == SETS || (work == MIXED && pick(10) == 0) ? SET : GET;
        snprintf(slot->path, PATH_BYTES, "/bench/k%07u", pick((uint32_t)keys));
        return !stopping;
    case CREATES:
        if (stopping) return 0;
        slot->op = CREATE;
        snprintf(slot->path, PATH_BYTES, "/c%d/n%09ld", getpid(), created++);
        return 1;
    case FILL:
        slot->op = CREATE;
        if (created == keys) return 0;
        snprintf(slot->path, PATH_BYTES, "/bench/k%07ld", created++);
        return 1;
    case CLEAN:
        slot->op = DELETE;
        if (deleted == created) return 0;
        snprintf(slot->path, PATH_BYTES, "/c%d/n%09ld", getpid(), deleted++);
        return 1;
    case LOCKS:
        if (slot->op == LOCK) {
            slot->op = CHILDREN;
            if (before->path == NULL) return 1; /* etcd: the key is the one we chose, listed below its parent */
            snprintf(slot->path, PATH_BYTES, "%.*s", (int)before->path_length, before->path);
        } else if (slot->op == CHILDREN) {
            slot->op = DELETE;
        } else {
            if (stopping) return 0;
            slot->op = LOCK;
            snprintf(slot->path, PATH_BYTES, "%s/lock-", slot->parent);
        }
        return 1;
    }
    return 0;
}

static void send_next(Connection *connection, int index, const Reply *before) {
    Slot *slot = &connection->slots[index];
    if (!choose(slot, before)) return (void)busy--;
    int xid = connection->next_xid++;
    connection->slot_of[xid % XIDS] = index;
    slot->sent_at = now(), connection->unanswered++;
    const char *path = slot->op == CHILDREN ? slot->parent : slot->path;
    connection->out_length += protocol->encode(connection->out + connection->out_length, xid, slot->op, path);
}

static void flush_out(Connection *connection, int poll_fd) {
    int waits = 0;
    while (connection->out_at < connection->out_length && !waits) {
        size_t left = connection->out_length - connection->out_at;
        ssize_t sent = write(connection->fd, connection->out + connection->out_at, left);
        if (sent < 0 && errno != EAGAIN) fail("write", errno);
        if (sent < 0) waits = 1;
        else connection->out_at += (size_t)sent;
    }
    memmove(connection->out, connection->out + connection->out_at, connection->out_length - connection->out_at);
    connection->out_length -= connection->out_at, connection->out_at = 0;
    if (waits != connection->waits_to_write) {
        struct epoll_event interest = {.events = EPOLLIN | (waits ? EPOLLOUT : 0), .data.ptr = connection};
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, connection->fd, &interest);
        connection->waits_to_write = waits;
    }
}

static void take_reply(Connection *connection, const Reply *reply, double arrived) {
    int index = connection->slot_of[reply->xid % XIDS];
    Slot *slot = &connection->slots[index];
    connection->unanswered--;
    int made_before = work == FILL && reply->err != 0 && reply->err == protocol->exists;
    if (reply->err != 0 && !made_before) fail("reply with an error", reply->err);
    if (slot->op == GET && reply->data < DATA_BYTES) fail("get without the data", (long)reply->data);
    if (arrived >= from && work != CLEAN) {
        double us = (arrived - slot->sent_at) * 1e6;
        histogram[us < SLOWEST_US ? (int)us : SLOWEST_US]++, sampled++;
        if (us > worst_us) worst_us = us;
        if (arrived < until && (work != LOCKS || slot->op == DELETE)) measured++; /* a lock counts once, when released */
    }
    send_next(connection, index, reply);
}

static void take_in(Connection *connection) {
    ssize_t got = read(connection->fd, connection->in + connection->in_length, IN_BYTES - connection->in_length);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) fail("connection closed by the server", errno);
    connection->in_length += (size_t)got;
    size_t at = 0, taken;
    double arrived = now();
    do {
        Reply reply = {0};
        taken = protocol->decode(connection->in + at, connection->in_length - at, &reply,
                                 connection->out + connection->out_length, &connection->out_length);
        if (reply.xid > 0) take_reply(connection, &reply, arrived);
        at += taken;
    } while (taken > 0);
    memmove(connection->in, connection->in + at, connection->in_length - at);
    connection->in_length -= at;
}

static void fail_silent(const Connection *all, int connections) {
    for (int i = 0; i < connections; i++)
        if (all[i].unanswered > 0)
            fprintf(stderr, "loadgen: port %d owes connection %d %d replies, the next to request %d; %zu bytes to be sent\n",
                    ports[i % servers], i, all[i].unanswered, all[i].next_xid - all[i].unanswered, all[i].out_length);
    fail("no reply for ten seconds", busy);
}

static void run(Connection *all, int connections, int poll_fd) {
    static const Reply none;
    busy = (long)connections * outstanding;
    for (int i = 0; i < connections; i++) {
        for (int slot = 0; slot < outstanding; slot++) send_next(&all[i], slot, &none);
        flush_out(&all[i], poll_fd);
    }
    while (busy > 0) {
        struct epoll_event ready[READY];
        int number = epoll_wait(poll_fd, ready, READY, PATIENT_MS);
        if (number == 0) fail_silent(all, connections);
        stopping = now() >= until;
        for (int i = 0; i < number; i++) {
            if (ready[i].events & ~(uint32_t)EPOLLOUT) take_in(ready[i].data.ptr);
            flush_out(ready[i].data.ptr, poll_fd);
        }
    }
}

static double percentile(double share) {
    long due = (long)(share * (double)sampled), seen = 0;
    for (int us = 0; us <= SLOWEST_US; us++)
        if ((seen += histogram[us]) > due) return us;
    return worst_us;
}

static void make_parent(int fd, const char *path) {
    int err = protocol->needs_parents ? exchange(fd, CREATE, path) : 0;
    if (err != 0 && err != protocol->exists) fail("no parent znode", err);
}

static Connection *connect_all(int connections, int poll_fd) {
    Connection *all = calloc((size_t)connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        Connection *one = &all[i];
        one->fd = open_session(i, SESSION_MS), one->next_xid = FIRST_XID;
        one->slots = calloc((size_t)outstanding, sizeof *one->slots);
        one->in = malloc(IN_BYTES), one->out = malloc((size_t)(outstanding + 8) * FRAME_BYTES);
        for (int slot = 0; slot < outstanding; slot++) {
            char *parent = one->slots[slot].parent;
            snprintf(parent, PATH_BYTES / 2, "/lock%d-%d-%d", getpid(), i, slot);
            one->slots[slot].op = DELETE; /* so that a round of LOCKS begins */
            if (work == LOCKS) make_parent(one->fd, parent);
        }
        set_waiting(one->fd, 0);
        struct epoll_event interest = {.events = EPOLLIN, .data.ptr = one};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, one->fd, &interest);
    }
    return all;
}

/* Open ones would expire in the middle of a later row. */
static void close_all(const Connection *all, int connections) {
    int *fds = calloc((size_t)connections, sizeof *fds);
    for (int i = 0; i < connections; i++) set_waiting(fds[i] = all[i].fd, 1);
    close_sessions(fds, connections);
}

void load(const char *name, int connections, int in_flight, int znodes, double seconds, double warm_up) {
    char parent[PATH_BYTES];
    int fd = open_session(0, SESSION_MS), poll_fd = epoll_create1(0);
    while (strcmp(works[work], name) != 0)
        if (++work == CLEAN) fail("unknown operation", 0);
    outstanding = in_flight, keys = znodes, seed ^= (uint64_t)getpid() << 32;
    if (connections < 1 || keys < 1 || outstanding < 1 || outstanding > MAX_OUTSTANDING) fail("bad number", keys);
    make_parent(fd, "/bench");
    snprintf(parent, sizeof parent, "/c%d", getpid());
    if (work == CREATES) make_parent(fd, parent);
    Connection *all = connect_all(connections, poll_fd);
    from = now() + warm_up, until = from + seconds;
    run(all, connections, poll_fd);
    if (work == CREATES) work = CLEAN, run(all, connections, poll_fd);
    close_all(all, connections);
    close_sessions(&fd, 1);
    if (work == FILL) /* so that the followers have it too before anybody reads */
        for (int i = 0; i < servers; i++) {
            int session = open_session(i, SESSION_MS);
            if (exchange(session, SYNC, "/bench") != 0) fail("sync", i);
            close_sessions(&session, 1);
        }
    printf("{\"ops\": %ld, \"ops_per_s\": %.1f, \"p50_us\": %.0f, \"p99_us\": %.0f, \"max_us\": %.0f}\n", measured,
           seconds > 0 ? (double)measured / seconds : 0.0, percentile(0.50), percentile(0.99), worst_us);
}
