"""Three Kafka nodes that are brokers and controllers together, with the interface of one KafkaServer."""
import contextlib

from .processes import free_port
from .servers import KafkaServer, start_all

REPLICATED = {"offsets.topic.replication.factor": 3, "default.replication.factor": 3, "min.insync.replicas": 2,
              "transaction.state.log.replication.factor": 3, "transaction.state.log.min.isr": 2}


class KafkaCluster(KafkaServer):
    """A context; nodes are the three processes, this object itself is the client's view of them."""

    def __init__(self, folder, name="cluster"):
        super().__init__(folder, name)
        voters = [(number, free_port()) for number in (1, 2, 3)]
        quorum = ",".join(f"{number}@127.0.0.1:{port}" for number, port in voters)
        self.nodes = [self._node(number, port, quorum) for number, port in voters]
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes)

    def _node(self, number, controller_port, quorum):
        node = KafkaServer(self.folder, f"node{number}", **REPLICATED)
        node.settings.update({
            "node.id": number, "controller.quorum.voters": quorum,
            "listeners": f"PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{controller_port}"})
        node.cluster_id = "keyroll-chaos-cluster0"  # 22 characters: a random UUID's form
        return node

    def start(self):
        for node in self.nodes:
            node.folder.mkdir(parents=True, exist_ok=True)
        start_all(*self.nodes)
        return self

    def running(self):
        return any(node.running() for node in self.nodes)

    def holder_of_the_group(self, group):
        """Returns the node that coordinates the group: the most painful one to lose."""
        described = self.admin().describe_consumer_groups([group])[group].result(10)
        return next(node for node in self.nodes if node.port == described.coordinator.port)

    def stop(self, timeout_s=20):
        with contextlib.ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.kill)
        return 0

    kill = stop
