import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.locks.RevocationListener;
import org.apache.curator.framework.recipes.locks.Revoker;
import org.apache.curator.retry.RetryOneTime;

/**
 * Curator's own locks, told what to do by lines on stdin, each answered by a line `ID ANSWER`.
 * `ID open HOSTS KIND PATH LIMIT`, `ID acquire MILLISECONDS`, `ID release`, `ID revoke HOSTS PATH`, `ID leader`.
 */
public class LockNeighbour {
    private static final Map<String, CuratorFramework> CLIENTS = new ConcurrentHashMap<>();
    private static final Map<String, One> ALL = new ConcurrentHashMap<>();

    interface One {
        boolean acquire(long millis) throws Exception;

        void release() throws Exception;

        default String leader() throws Exception {
            throw new UnsupportedOperationException();
        }
    }

    public static void main(String[] args) throws Exception {
        Map<String, ExecutorService> threads = new ConcurrentHashMap<>(); // a mutex is a thread's
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            threads.computeIfAbsent(words[0], id -> Executors.newSingleThreadExecutor()).execute(() -> {
                String answer;
                try {
                    answer = carryOut(words);
                } catch (Exception error) {
                    answer = "failed: " + error;
                }
                say(words[0], answer);
            });
        }
        System.exit(0);
    }

    private static synchronized void say(String id, String answer) {
        System.out.println(id + " " + answer);
        System.out.flush();
    }

    private static String carryOut(String[] words) throws Exception {
        switch (words[1]) {
            case "open":
                ALL.put(words[0], open(words[0], client(words[2]), words[3], words[4], Integer.parseInt(words[5])));
                return "done";
            case "acquire":
                return ALL.get(words[0]).acquire(Long.parseLong(words[2])) ? "yes" : "no";
            case "release":
                ALL.get(words[0]).release();
                return "done";
            case "revoke":
                Revoker.attemptRevoke(client(words[2]), words[3]);
                return "done";
            default:
                return ALL.get(words[0]).leader();
        }
    }

    private static CuratorFramework client(String hosts) {
        return CLIENTS.computeIfAbsent(hosts, address -> {
            CuratorFramework client = CuratorFrameworkFactory.newClient(address, new RetryOneTime(1000));
            client.start();
            return client;
        });
    }

    private static One open(String id, CuratorFramework client, String kind, String path, int limit) throws Exception {
        switch (kind) {
            case "read":
                return mutex(id, new InterProcessReadWriteLock(client, path).readLock());
            case "write":
                return mutex(id, new InterProcessReadWriteLock(client, path).writeLock());
            case "semaphore":
                return semaphore(new InterProcessSemaphoreV2(client, path, limit));
            case "selector":
                return selector(client, path, id);
            case "latch":
                return latch(client, path, id);
            default:
                return mutex(id, new InterProcessMutex(client, path));
        }
    }

    private static One mutex(String id, InterProcessMutex lock) {
        lock.makeRevocable(new RevocationListener<InterProcessMutex>() {
            public void revocationRequested(InterProcessMutex asked) {
                say(id + "-asked", "revoked");
            }
        });
        return new One() {
            public boolean acquire(long millis) throws Exception {
                return lock.acquire(millis, TimeUnit.MILLISECONDS);
            }

            public void release() throws Exception {
                lock.release();
            }
        };
    }

    private static One semaphore(InterProcessSemaphoreV2 semaphore) {
        return new One() {
            private Lease lease;

            public boolean acquire(long millis) throws Exception {
                lease = semaphore.acquire(millis, TimeUnit.MILLISECONDS);
                return lease != null;
            }

            public void release() {
                semaphore.returnLease(lease);
            }
        };
    }

    private static One selector(CuratorFramework client, String path, String id) {
        CountDownLatch leads = new CountDownLatch(1);
        CountDownLatch done = new CountDownLatch(1);
        LeaderSelector selector = new LeaderSelector(client, path, new LeaderSelectorListenerAdapter() {
            public void takeLeadership(CuratorFramework client) throws Exception {
                leads.countDown();
                done.await();
            }
        });
        selector.setId(id);
        return new One() {
            private boolean started = false;

            public boolean acquire(long millis) throws Exception {
                if (!started) {
                    started = true;
                    selector.start();
                }
                return leads.await(millis, TimeUnit.MILLISECONDS);
            }

            public void release() {
                done.countDown();
                selector.close();
            }

            public String leader() throws Exception {
                return selector.getLeader().getId();
            }
        };
    }

    private static One latch(CuratorFramework client, String path, String id) {
        LeaderLatch latch = new LeaderLatch(client, path, id);
        return new One() {
            public boolean acquire(long millis) throws Exception {
                if (latch.getState() == LeaderLatch.State.LATENT) {
                    latch.start();
                }
                return latch.await(millis, TimeUnit.MILLISECONDS);
            }

            public void release() throws Exception {
                latch.close();
            }

            public String leader() throws Exception {
                return latch.getLeader().getId();
            }
        };
    }
}
