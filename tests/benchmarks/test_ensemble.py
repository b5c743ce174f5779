from benchmarks import etcd, zookeeper
from benchmarks.server import Server


def members(kind, tmp_path):
    return [Server(kind, sid, tmp_path / str(sid), (100 + sid, 200 + sid, 300 + sid)) for sid in (1, 2, 3)]


def test_three_servers_know_of_each_other_and_one_alone_runs_standalone(tmp_path):
    one, two, three = members("ours", tmp_path)
    zookeeper.prepare(two, [one, two, three])
    text = (two.home / "zoo.cfg").read_text()
    assert "server.1=127.0.0.1:201:301\nserver.2=127.0.0.1:202:302\nserver.3=127.0.0.1:203:303\n" in text
    assert (two.home / "data" / "myid").read_text() == "2\n"
    zookeeper.prepare(three, [three])
    assert "server." not in (three.home / "zoo.cfg").read_text()


def test_ours_and_apache_read_the_same_lines(tmp_path):
    ours, apache = members("ours", tmp_path), members("apache", tmp_path / "other")
    zookeeper.prepare(ours[0], ours)
    zookeeper.prepare(apache[0], apache)
    mine, theirs = ((side[0].home / "zoo.cfg").read_text() for side in (ours, apache))
    assert mine == theirs.replace(str(apache[0].home), str(ours[0].home))


def test_ours_runs_raft_or_from_another_clone(tmp_path):
    raft, clone = members("raft", tmp_path), members("tree:/clone", tmp_path / "other")
    zookeeper.prepare(raft[0], raft)
    assert (raft[0].home / "zoo.cfg").read_text().endswith("\nprotocol=raft\n")
    command = zookeeper.prepare(clone[0], clone)
    assert command[:2] == ["env", "PYTHONPATH=/clone"] and "recipes" in command
    assert "protocol" not in (clone[0].home / "zoo.cfg").read_text()


def test_etcd_members_name_the_same_cluster(tmp_path):
    servers = members("etcd", tmp_path)
    clusters = {word for server in servers for word in etcd.prepare(server, servers) if "initial-cluster=" in word}
    assert clusters == {
        "--initial-cluster=s1=http://127.0.0.1:201,s2=http://127.0.0.1:202,s3=http://127.0.0.1:203",
    }
