/* N sessions that do nothing but ping, evenly spread over time. Prints `ready` when all are open, then lasts so long. */
#include "loadgen.h"
#include <sys/socket.h>

enum { TIMEOUT_MS = 12000, PING_EVERY_MS = TIMEOUT_MS / 3, PING_XID = -2, PING_OP = 11, PONG_BYTES = 20 };

void idle_sessions(int connections, double seconds) {
    int *sessions = calloc((size_t)connections, sizeof *sessions);
    unsigned char ping[12], pong[PONG_BYTES];
    if (protocol != &zookeeper) fail("only ZooKeeper has sessions that ping", 0);
    put_int(put_int(put_int(ping, 8), PING_XID), PING_OP);
    /* While the later ones are opened the first must not run out of time. */
    for (int i = 0; i < connections; i++) sessions[i] = open_session(i, TIMEOUT_MS);
    puts("ready"), fflush(stdout);
    double begun = now(), step = PING_EVERY_MS / 1000.0 / connections;
    for (long sent = 0; now() - begun < seconds; sent++) {
        int fd = sessions[sent % connections];
        if (sent >= connections && recv(fd, pong, sizeof pong, MSG_DONTWAIT) != PONG_BYTES) fail("no answer to a ping", sent);
        if (write(fd, ping, sizeof ping) != sizeof ping) fail("write", errno);
        double ahead = begun + (double)(sent + 1) * step - now();
        if (ahead > 0) usleep((useconds_t)(ahead * 1e6));
    }
    puts("{}"), fflush(stdout);
    while (getchar() != EOF) continue; /* until whoever measures has looked: closing costs more than staying open */
    close_sessions(sessions, connections);
}
