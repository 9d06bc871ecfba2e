"""What the board tells: stages that add up, hits of rules, and the commands that show them."""
import pytest
from instance import wait_until
from tern import Op

PARTS = ("recv", "decode", "tier1", "queue", "tier2", "reply")


def stage_sums(stats):
    return {name: stage["count"] * stage["mean_ns"] for name, stage in stats["stages"].items()}


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_stages_add_up_to_the_total(make_instance, backend):
    """Single requests, pipelined ones, small and large batches, refused ones, and other operations."""
    instance = make_instance(backend=backend).start()
    before = instance.ctl_json("stats")
    item = {"ip": "192.0.2.7", "path": "/login", "user": 2, "host": "www.example.com"}
    sizes = [1] * 200 + [5] * 50 + [32] * 20 + [33, 500, 4096]
    with instance.client() as client:
        for size in sizes:
            client.decide([item] * size)
        pending = [client.submit([item]) for _ in range(500)]
        for request in pending:
            client.collect(request)
        for _ in range(7):
            client.ping()
        client.send_frame(Op.DECIDE, b"\1\0\1\0\7", request_id=900000)
        client.recv_frame()
    requests = len(sizes) + len(pending)

    def counted():
        stats = instance.ctl_json("stats")
        done = stats["stages"]["total"]["count"] - before["stages"]["total"]["count"]
        return stats if done >= requests else None
    stats = wait_until(counted, "all requests are timed")
    for name in ("recv", "decode", "tier1", "reply", "total"):
        assert (stats["stages"][name]["count"] - before["stages"][name]["count"]) == requests, name
    assert stats["stages"]["queue"]["count"] == stats["stages"]["tier2"]["count"] == 0
    others = stats["stages"]["other"]["count"] - before["stages"]["other"]["count"]
    assert others == 8 + 1, "seven pings, one refusal, and the client's HELLO"
    sums, earlier = stage_sums(stats), stage_sums(before)
    total = sums["total"] - earlier["total"]
    parts = sum(sums[name] - earlier[name] for name in PARTS)
    assert total > 0 and abs(parts - total) <= 0.001 * total, (parts, total)
    counters = stats["counters"]
    assert counters["decisions"] - before["counters"]["decisions"] == sum(sizes) + len(pending)
    assert counters["requests"] - before["counters"]["requests"] == requests + others
