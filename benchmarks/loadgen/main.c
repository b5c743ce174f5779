/* Load generator for a coordination service: ZooKeeper's client port, or etcd's.
 *
 *     loadgen PROTOCOL PORT[,PORT...] first
 *     loadgen PROTOCOL PORT[,PORT...] get|set|create|mixed|lock|fill CONNECTIONS OUTSTANDING KEYS SECONDS WARM_UP
 *     loadgen PROTOCOL PORT[,PORT...] fan-out CONNECTIONS SECONDS
 *     loadgen PROTOCOL PORT[,PORT...] idle CONNECTIONS SECONDS
 *
 * PROTOCOL is zookeeper or etcd. Connection number i goes to port i modulo their number. Requests are over KEYS znodes of
 * 100 bytes chosen at random, mixed is nine gets to one set, `fill` makes those znodes. One line of JSON comes out; whatever
 * is not as it should be ends the run with exit 1.
 */
#include "loadgen.h"
#include <signal.h>

const Protocol *protocol;
int ports[MAX_SERVERS], servers;

int main(int count, char **words) {
    signal(SIGPIPE, SIG_IGN);
    if (count < 4) fail("words missing, see main.c", count);
    protocol = strcmp(words[1], "etcd") == 0 ? &etcd : &zookeeper;
    for (char *word = strtok(words[2], ","); word != NULL && servers < MAX_SERVERS; word = strtok(NULL, ","))
        ports[servers++] = atoi(word);
    if (strcmp(words[3], "first") == 0 && count == 4) first_write(), puts("{}");
    else if (strcmp(words[3], "fan-out") == 0 && count == 6) watch_fan_out(atoi(words[4]), atof(words[5]));
    else if (strcmp(words[3], "idle") == 0 && count == 6) idle_sessions(atoi(words[4]), atof(words[5]));
    else if (count == 9) load(words[3], atoi(words[4]), atoi(words[5]), atoi(words[6]), atof(words[7]), atof(words[8]));
    else fail("wrong number of words, see main.c", count);
    return 0;
}
