/* Sockets, time and integers in network order. */
#include "loadgen.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>

void fail(const char *what, long detail) {
    fprintf(stderr, "loadgen: %s (%ld)\n", what, detail);
    exit(1);
}

double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec * 1e-9;
}

unsigned char *put_int(unsigned char *at, int32_t value) {
    uint32_t swapped = htonl((uint32_t)value);
    memcpy(at, &swapped, 4);
    return at + 4;
}

int32_t get_int(const unsigned char *at) {
    uint32_t swapped;
    memcpy(&swapped, at, 4);
    return (int32_t)ntohl(swapped);
}

int read_all(int fd, unsigned char *into, size_t wanted) {
    for (size_t have = 0; have < wanted;) {
        ssize_t got = read(fd, into + have, wanted - have);
        if (got <= 0) return 0;
        have += (size_t)got;
    }
    return 1;
}

int dial(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval patience = {.tv_sec = PATIENT_MS / 1000};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) fail("socket", errno);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) return close(fd), -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

void set_waiting(int fd, int waits) { fcntl(fd, F_SETFL, waits ? 0 : O_NONBLOCK); }

int open_session(int server, int timeout_ms) {
    int port = ports[server % servers], fd = dial(port);
    if (fd < 0 || !protocol->greet(fd, timeout_ms) || !protocol->greeted(fd)) fail("no session on port", port);
    return fd;
}

int exchange(int fd, Op op, const char *path) {
    unsigned char frame[FRAME_BYTES];
    size_t length = protocol->encode(frame, FIRST_XID, op, path);
    return write(fd, frame, length) == (ssize_t)length ? await(fd, FIRST_XID) : -1;
}

int await(int fd, int xid) {
    static unsigned char in[IN_BYTES], out[FRAME_BYTES];
    Reply reply = {0};
    for (size_t have = 0, used = 0; reply.xid != xid;) {
        size_t answer = 0, taken = protocol->decode(in + used, have - used, &reply, out, &answer);
        if (answer > 0 && write(fd, out, answer) != (ssize_t)answer) return -1;
        used += taken;
        if (taken > 0) continue;
        ssize_t got = read(fd, in + have, IN_BYTES - have);
        if (got <= 0) return -1;
        have += (size_t)got;
    }
    return reply.err;
}

void close_sessions(const int *fds, int count) {
    unsigned char frame[FRAME_BYTES];
    size_t length = protocol->encode(frame, FIRST_XID, CLOSE, "");
    for (int i = 0; i < count; i++)
        if (length > 0 && write(fds[i], frame, length) != (ssize_t)length) fail("closing a session", errno);
    for (int i = 0; i < count; i++) {
        char rest[FRAME_BYTES];
        while (length > 0 && read(fds[i], rest, sizeof rest) > 0) continue;
        close(fds[i]);
    }
}
