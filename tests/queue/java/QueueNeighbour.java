import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.MultiItem;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryOneTime;

/** `QueueNeighbour put|take HOSTS PATH LOCK_PATH|- ITEM...|COUNT`: Curator's own queue, printing what it takes. */
public class QueueNeighbour {
    public static void main(String[] args) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.newClient(args[1], new RetryOneTime(1000));
        client.start();
        client.blockUntilConnected();
        boolean takes = args[0].equals("take");
        CountDownLatch left = new CountDownLatch(takes ? Integer.parseInt(args[4]) : 0);
        QueueConsumer<String> consumer = new QueueConsumer<String>() {
            public void consumeMessage(String item) {
                System.out.println(item);
                left.countDown();
            }

            public void stateChanged(CuratorFramework client, ConnectionState state) {}
        };
        QueueSerializer<String> serializer = new QueueSerializer<String>() {
            public byte[] serialize(String item) {
                return item.getBytes(StandardCharsets.UTF_8);
            }

            public String deserialize(byte[] data) {
                return new String(data, StandardCharsets.UTF_8);
            }
        };
        QueueBuilder<String> builder = QueueBuilder.builder(client, takes ? consumer : null, serializer, args[2]);
        if (!args[3].equals("-")) {
            builder.lockPath(args[3]);
        }
        try (DistributedQueue<String> queue = builder.buildQueue()) {
            queue.start();
            if (!takes) {
                for (int at = 4; at < args.length; at++) {
                    final String[] many = args[at].split(",");
                    if (many.length > 1) {
                        queue.putMulti(new MultiItem<String>() {
                            private int next = 0;

                            public String nextItem() {
                                return next < many.length ? many[next++] : null;
                            }
                        });
                    } else {
                        queue.put(args[at]);
                    }
                }
                queue.flushPuts(20, java.util.concurrent.TimeUnit.SECONDS);
            }
            left.await();
            // An item is deleted behind its consumer's return: one that is closed before that gives it to another.
            while (takes && !client.getChildren().forPath(args[2]).isEmpty()) {
                Thread.sleep(10);
            }
        }
        client.close();
    }
}
