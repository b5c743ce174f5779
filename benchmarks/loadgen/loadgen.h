/* What the files of the load generator share: what a protocol must offer, and sockets. */
#ifndef LOADGEN_H
#define LOADGEN_H
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DATA_BYTES = 100, FRAME_BYTES = 512, IN_BYTES = 1 << 18, PATH_BYTES = 96, MAX_SERVERS = 16 };
enum { FIRST_XID = 2, SESSION_MS = 30000, PATIENT_MS = 10000 };

/* LOCK creates an ephemeral sequential child, WATCH reads a znode and leaves a watch on it. */
typedef enum { GET, SET, CREATE, LOCK, CHILDREN, DELETE, WATCH, SYNC, CLOSE } Op;

typedef struct {
    int xid;          /* 0: these bytes were no reply; EVENT_XID: a watch event */
    int err;          /* 0, or the protocol's own code */
    size_t data;      /* bytes of body, a lower bound of what was read */
    const char *path; /* of a znode made by LOCK where the server chose the name, not terminated */
    size_t path_length;
} Reply;
enum { EVENT_XID = -1 };

typedef struct {
    int (*greet)(int fd, int timeout_ms); /* write what opens a session; false: nobody there */
    int (*greeted)(int fd);               /* wait for the answer; false: no session */
    size_t (*encode)(unsigned char *frame, int xid, Op op, const char *path);
    /* Take one message off `at`: the bytes it took, 0 while incomplete. It may add bytes to be sent at `out`. */
    size_t (*decode)(const unsigned char *at, size_t length, Reply *reply, unsigned char *out, size_t *out_length);
    int exists; /* err of a create whose znode is there already; 0: it has none */
    int needs_parents, watches_once;
} Protocol;

extern const Protocol zookeeper, etcd;
extern const Protocol *protocol;
extern int ports[MAX_SERVERS], servers;

void fail(const char *what, long detail);
double now(void);
unsigned char *put_int(unsigned char *at, int32_t value);
int32_t get_int(const unsigned char *at);
int read_all(int fd, unsigned char *into, size_t wanted);

/* Sockets block, each read for PATIENT_MS at most, until told otherwise. */
int dial(int port);
void set_waiting(int fd, int waits);
int open_session(int server, int timeout_ms); /* ends the program when there is none */
int exchange(int fd, Op op, const char *path); /* one request, its err; -1 when the connection broke */
int await(int fd, int xid);                    /* the err of that reply, passing over others */
void close_sessions(const int *fds, int count);

/* What the program can do, one file each. */
void first_write(void);
void load(const char *name, int connections, int outstanding, int keys, double seconds, double warm_up);
void watch_fan_out(int connections, double seconds);
void idle_sessions(int connections, double seconds);
#endif
