import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.TreeSet;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;

/** Curator's service discovery, by lines: "register NAME ID ADDRESS PORT PAYLOAD", "list NAME". Arguments: hosts, path. */
public class DiscoveryNeighbour {
    public static void main(String[] arguments) throws Exception {
        try (CuratorFramework client = CuratorFrameworkFactory.newClient(arguments[0], new RetryOneTime(100))) {
            client.start();
            try (ServiceDiscovery<String> discovery =
                    ServiceDiscoveryBuilder.builder(String.class).client(client).basePath(arguments[1]).build()) {
                discovery.start();
                System.out.println("ready");
                BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
                for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                    System.out.println(carryOut(discovery, line.split(" ")));
                }
            }
        }
    }

    private static String carryOut(ServiceDiscovery<String> discovery, String[] words) throws Exception {
        if (words[0].equals("register")) {
            discovery.registerService(ServiceInstance.<String>builder().name(words[1]).id(words[2]).address(words[3])
                    .port(Integer.parseInt(words[4])).payload(words[5]).build());
            return "done";
        }
        TreeSet<String> found = new TreeSet<>();
        for (ServiceInstance<String> each : discovery.queryForInstances(words[1])) {
            found.add(each.getId() + "=" + each.getAddress() + ":" + each.getPort() + "/" + each.getSslPort() + "/"
                    + each.getPayload());
        }
        return String.join(" ", found);
    }
}
