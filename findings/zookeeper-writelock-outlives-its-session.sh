#!/usr/bin/env bash
# Apache ZooKeeper 3.8.0 (Debian 12), its own recipe `WriteLock` (zookeeper-recipes-lock): a lock whose session has expired
# says that it is held, for ever.
#
# A WriteLock is acquired, its session expires, the client is told so, and a second client acquires a WriteLock of the
# same path. `isOwner()` of the first one stays true, and `lockReleased()` of its LockListener, which is documented as the
# call at which the lock is released, never comes. One would expect one of the two to tell of it: the recipe watches the
# session that it was given.
#
# Seen:
#     first: acquired
#     the first session: CLOSED
#     second: acquired
#     isOwner: first true, second true
#     calls of lockReleased at the first: 0
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q libzookeeper-java=3.8.0-11+deb12u2 libnetty-java libslf4j-java libdropwizard-metrics-java \
    libcommons-cli-java libcommons-io-java libjackson2-core-java libjackson2-databind-java libjackson2-annotations-java \
    libsnappy-java libjetty9-java libservlet-api-java libnetty-tcnative-java >/dev/null
for package in *.deb; do dpkg -x "$package" root; done
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' "$place" "$port" >zoo.cfg
java -cp "root/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >Outlived.java <<'JAVA'
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.recipes.lock.LockListener;
import org.apache.zookeeper.recipes.lock.WriteLock;

public class Outlived {
    static final AtomicInteger releases = new AtomicInteger();

    static ZooKeeper connect(String hosts, CountDownLatch expired) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper client = new ZooKeeper(hosts, 4000, event -> {
            if (event.getState() == KeeperState.SyncConnected) connected.countDown();
            if (event.getState() == KeeperState.Expired) expired.countDown();
        });
        connected.await();
        return client;
    }

    static WriteLock lock(ZooKeeper client, String name, CountDownLatch acquired) {
        return new WriteLock(client, "/lock", Ids.OPEN_ACL_UNSAFE, new LockListener() {
            public void lockAcquired() {
                System.out.println(name + ": acquired");
                acquired.countDown();
            }
            public void lockReleased() {
                if (name.equals("first")) releases.incrementAndGet();
            }
        });
    }

    public static void main(String[] hosts) throws Exception {
        CountDownLatch expired = new CountDownLatch(1), held = new CountDownLatch(1), heldAgain = new CountDownLatch(1);
        ZooKeeper one = connect(hosts[0], expired), two = connect(hosts[0], new CountDownLatch(1));
        WriteLock first = lock(one, "first", held), second = lock(two, "second", heldAgain);
        first.lock();
        held.await();
        // The usual way to let a session expire: another client joins it, and closes it.
        CountDownLatch joined = new CountDownLatch(1);
        ZooKeeper same = new ZooKeeper(hosts[0], 4000, event -> {
            if (event.getState() == KeeperState.SyncConnected) joined.countDown();
        }, one.getSessionId(), one.getSessionPasswd());
        joined.await();
        same.close();
        expired.await();
        System.out.println("the first session: " + one.getState());
        second.lock();
        heldAgain.await();
        Thread.sleep(5000);
        System.out.println("isOwner: first " + first.isOwner() + ", second " + second.isOwner());
        System.out.println("calls of lockReleased at the first: " + releases);
        System.exit(0);
    }
}
JAVA
javac -proc:none -cp "root/usr/share/java/*" Outlived.java
timeout 120 java -cp "root/usr/share/java/*:." Outlived "127.0.0.1:$port" 2>/dev/null | tee seen
diff seen - <<'SEEN'
first: acquired
the first session: CLOSED
second: acquired
isOwner: first true, second true
calls of lockReleased at the first: 0
SEEN
