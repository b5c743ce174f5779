/* Return at the first acknowledged create of a server, or ensemble, that may still be starting. */
#include "loadgen.h"
#include <poll.h>

enum { DIALS = 256, DIAL_EVERY_MS = 10, GIVE_UP_SECONDS = 120 };

/* A starting server may accept and then never answer. So another connection is tried every 10 ms while the older ones are
 * kept, and the first that gets a session goes on: a server is charged neither for a connection of its it forgot, nor for
 * our giving up on one it was about to serve. */
void first_write(void) {
    struct pollfd dials[DIALS];
    int count = 0, next = 0;
    for (double begun = now(); now() - begun < GIVE_UP_SECONDS;) {
        int fd = count < DIALS ? dial(ports[next++ % servers]) : -1;
        if (fd >= 0 && protocol->greet(fd, SESSION_MS)) dials[count++] = (struct pollfd){fd, POLLIN, 0};
        else if (fd >= 0) close(fd);
        poll(dials, (nfds_t)count, count > 0 ? DIAL_EVERY_MS : 0);
        if (count == 0) usleep(1000);
        for (int i = count - 1; i >= 0; i--) {
            if (dials[i].revents == 0) continue;
            int answered = protocol->greeted(dials[i].fd), err = answered ? exchange(dials[i].fd, CREATE, "/first") : -1;
            if (err == 0 || (err != -1 && err == protocol->exists)) return;
            close(dials[i].fd);
            dials[i] = dials[--count];
        }
    }
    fail("no server after seconds", GIVE_UP_SECONDS);
}
