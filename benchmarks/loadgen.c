/* Load generator for a ZooKeeper client port: N connections with M requests outstanding on each, one epoll loop.
 *
 *     loadgen PORT OP CONNECTIONS OUTSTANDING KEYS SECONDS WARM_UP
 *
 * OP is get, set, create or mixed (nine gets to one set) over KEYS znodes of 100 bytes chosen at random; `fill` makes
 * those znodes and ends; `first` waits for the server and ends at its first acknowledged create. Every reply must bear
 * the xid that is due and err == 0, anything else ends the run with exit 1. Prints one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OP_CREATE = 1, OP_GET = 4, OP_SET = 5, NODE_EXISTS = -110, DATA_BYTES = 100 };
enum { IN_BYTES = 1 << 18, REQUEST_BYTES = 256, MAX_OUTSTANDING = 1024, SLOWEST_US = 4000000 };

typedef struct {
    int fd, sent_xid, seen_xid;
    size_t in_length, out_length, out_at;
    unsigned char in[IN_BYTES], *out;
    double sent_at[MAX_OUTSTANDING]; /* by xid: replies come back in order */
} Connection;

typedef enum { GET, SET, CREATE, MIXED, FILL, FIRST } Work;

static Work work;
static int port, keys, wanted_replies = -1;
static long created, replies, measured;
static uint32_t histogram[SLOWEST_US + 1];
static double worst_us;
static uint64_t seed = 88172645463325252ULL;

static void fail(const char *what, long detail) {
    fprintf(stderr, "loadgen: %s (%ld)\n", what, detail);
    exit(1);
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec * 1e-9;
}

static uint32_t pick(uint32_t below) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (uint32_t)((seed >> 11) % below);
}

static unsigned char *put_int(unsigned char *at, int32_t value) {
    uint32_t swapped = htonl((uint32_t)value);
    memcpy(at, &swapped, 4);
    return at + 4;
}

static int32_t get_int(const unsigned char *at) {
    uint32_t swapped;
    memcpy(&swapped, at, 4);
    return (int32_t)ntohl(swapped);
}

static unsigned char *put_text(unsigned char *at, const char *text) {
    size_t length = strlen(text);
    at = put_int(at, (int32_t)length);
    memcpy(at, text, length);
    return at + length;
}

static unsigned char *put_data(unsigned char *at) {
    at = put_int(at, DATA_BYTES);
    memset(at, 'x', DATA_BYTES);
    return at + DATA_BYTES;
}

static size_t encode(unsigned char *frame, int xid, int op, const char *path) {
    unsigned char *at = put_int(put_int(frame + 4, xid), op);
    at = put_text(at, path);
    if (op == OP_GET) *at++ = 0; /* no watch */
    if (op == OP_SET) at = put_int(put_data(at), -1);
    if (op == OP_CREATE) {
        at = put_int(put_int(put_data(at), 1), 31);
        at = put_int(put_text(put_text(at, "world"), "anyone"), 0);
    }
    put_int(frame, (int32_t)(at - frame - 4));
    return (size_t)(at - frame);
}

static int read_all(int fd, unsigned char *into, size_t wanted) {
    for (size_t have = 0; have < wanted;) {
        ssize_t got = read(fd, into + have, wanted - have);
        if (got <= 0) return 0;
        have += (size_t)got;
    }
    return 1;
}

static int read_frame(int fd, unsigned char *into) {
    if (!read_all(fd, into, 4)) return 0;
    int32_t length = get_int(into);
    return length > 0 && length < IN_BYTES && read_all(fd, into, (size_t)length);
}

/* A connected socket with a session on it, or -1 where nothing serves yet. */
static int open_session(void) {
    unsigned char frame[IN_BYTES];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval patience = {.tv_usec = 100000}; /* a starting Apache may accept and then never answer */
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        memset(frame, 0, 49);
        put_int(put_int(frame, 45) + 12, 30000); /* version, last zxid, then the session timeout in ms */
        put_int(frame + 28, 16);                 /* length of the all-zero password */
        if (write(fd, frame, 49) == 49 && read_frame(fd, frame) && get_int(frame + 4) > 0) return fd;
    }
    close(fd);
    return -1;
}

static int create_one(int fd, const char *path) {
    unsigned char frame[IN_BYTES];
    size_t length = encode(frame, 1, OP_CREATE, path);
    if (write(fd, frame, length) != (ssize_t)length || !read_frame(fd, frame)) return -1;
    int err = get_int(frame + 12);
    return err == NODE_EXISTS ? 0 : err;
}

static void send_requests(Connection *connection, int count) {
    char path[64];
    double at = now();
    for (; count > 0; count--) {
        int xid = ++connection->sent_xid, op = OP_GET;
        if (work == FILL && created == keys) return (void)connection->sent_xid--;
        if (work == SET || (work == MIXED && pick(10) == 0)) op = OP_SET;
        if (work == CREATE) op = OP_CREATE, snprintf(path, sizeof path, "/c%d/n%09ld", getpid(), created++);
        else if (work == FILL) op = OP_CREATE, snprintf(path, sizeof path, "/bench/k%07ld", created++);
        else snprintf(path, sizeof path, "/bench/k%07u", pick((uint32_t)keys));
        connection->sent_at[xid % MAX_OUTSTANDING] = at;
        connection->out_length += encode(connection->out + connection->out_length, xid, op, path);
    }
}

/* Returns false when the socket is full; epoll then says when to go on. */
static int flush_out(Connection *connection) {
    while (connection->out_at < connection->out_length) {
        ssize_t sent =
            write(connection->fd, connection->out + connection->out_at, connection->out_length - connection->out_at);
        if (sent < 0 && errno == EAGAIN) return 0;
        if (sent < 0) fail("write", errno);
        connection->out_at += (size_t)sent;
    }
    connection->out_at = connection->out_length = 0;
    return 1;
}

static int take_replies(Connection *connection, int measuring) {
    ssize_t got = read(connection->fd, connection->in + connection->in_length, IN_BYTES - connection->in_length);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) fail("connection closed by the server", errno);
    connection->in_length += (size_t)got;
    size_t at = 0;
    int count = 0;
    double arrived = now();
    while (connection->in_length - at >= 4) {
        int32_t length = get_int(connection->in + at);
        if (length < 16 || length > IN_BYTES - 4) fail("bad frame length", length);
        if (connection->in_length - at < (size_t)length + 4) break;
        int xid = get_int(connection->in + at + 4), err = get_int(connection->in + at + 16);
        if (xid != ++connection->seen_xid) fail("reply out of order", xid);
        if (err != 0 && !(work == FILL && err == NODE_EXISTS)) fail("reply with an error", err);
        if (measuring) {
            double us = (arrived - connection->sent_at[xid % MAX_OUTSTANDING]) * 1e6;
            histogram[us < SLOWEST_US ? (int)us : SLOWEST_US]++;
            if (us > worst_us) worst_us = us;
        }
        at += (size_t)length + 4;
        count++;
    }
    memmove(connection->in, connection->in + at, connection->in_length - at);
    connection->in_length -= at;
    return count;
}

static double percentile(double share) {
    long due = (long)(share * (double)measured), seen = 0;
    for (int us = 0; us <= SLOWEST_US; us++)
        if ((seen += histogram[us]) > due) return us;
    return worst_us;
}

static Work parse_work(const char *name) {
    const char *names[] = {"get", "set", "create", "mixed", "fill", "first"};
    for (int i = 0; i < 6; i++)
        if (strcmp(name, names[i]) == 0) return (Work)i;
    fail("unknown operation", 0);
    return GET;
}

int main(int count, char **words) {
    if (count != 8) fail("usage: loadgen PORT OP CONNECTIONS OUTSTANDING KEYS SECONDS WARM_UP", count);
    port = atoi(words[1]), work = parse_work(words[2]), keys = atoi(words[5]);
    int connections = atoi(words[3]), outstanding = atoi(words[4]), fd;
    double seconds = atof(words[6]), warm_up = atof(words[7]), waiting_since = now();
    char parent[32];
    if (connections < 1 || keys < 1 || outstanding < 1 || outstanding >= MAX_OUTSTANDING) fail("bad number", keys);
    seed ^= (uint64_t)getpid() << 32;

    while ((fd = open_session()) < 0 || (work == FIRST && create_one(fd, "/first") != 0)) {
        if (now() - waiting_since > 60) fail("no server", port);
        if (fd >= 0) close(fd);
        usleep(1000);
    }
    if (work == FIRST) return puts("{}"), 0;
    struct timeval forever = {0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof forever);
    snprintf(parent, sizeof parent, "/c%d", getpid());
    if (create_one(fd, "/bench") != 0 || (work == CREATE && create_one(fd, parent) != 0)) fail("no parent znode", 0);
    close(fd);
    if (work == FILL) wanted_replies = keys;

    Connection *all = calloc((size_t)connections, sizeof *all);
    int poll_fd = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        Connection *one = &all[i];
        for (int tries = 0; (one->fd = open_session()) < 0; tries++)
            if (tries == 20) fail("no session", i);
        fcntl(one->fd, F_SETFL, O_NONBLOCK);
        one->out = malloc((size_t)(outstanding + 1) * REQUEST_BYTES);
        struct epoll_event interest = {.events = EPOLLIN, .data.ptr = one};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, one->fd, &interest);
    }
    double began = now(), from = began + warm_up, until = from + seconds, at = began;
    for (int i = 0; i < connections; i++) send_requests(&all[i], outstanding);
    for (int i = 0; i < connections; i++) {
        struct epoll_event interest = {.events = EPOLLIN, .data.ptr = &all[i]};
        if (!flush_out(&all[i])) interest.events |= EPOLLOUT;
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, all[i].fd, &interest);
    }
    while (wanted_replies < 0 ? at < until : replies < wanted_replies) {
        struct epoll_event ready[64];
        int number = epoll_wait(poll_fd, ready, 64, 10000);
        at = now();
        if (number == 0) fail("no reply for ten seconds", replies);
        for (int i = 0; i < number; i++) {
            Connection *one = ready[i].data.ptr;
            int measuring = at >= from, had_to_wait = one->out_length > 0;
            int done = ready[i].events & ~(uint32_t)EPOLLOUT ? take_replies(one, measuring) : 0;
            replies += done;
            if (measuring) measured += done;
            if (one->out_at > 0) { /* room for what follows behind an unfinished write */
                memmove(one->out, one->out + one->out_at, one->out_length - one->out_at);
                one->out_length -= one->out_at, one->out_at = 0;
            }
            send_requests(one, done);
            int waits = !flush_out(one);
            if (waits != had_to_wait) {
                struct epoll_event interest = {.events = EPOLLIN | (waits ? EPOLLOUT : 0), .data.ptr = one};
                epoll_ctl(poll_fd, EPOLL_CTL_MOD, one->fd, &interest);
            }
        }
    }
    double span = now() - from;
    printf("{\"ops\": %ld, \"ops_per_s\": %.1f, \"p50_us\": %.0f, \"p99_us\": %.0f, \"max_us\": %.0f}\n", measured,
           span > 0 ? (double)measured / span : 0.0, percentile(0.50), percentile(0.99), worst_us);
    return 0;
}
