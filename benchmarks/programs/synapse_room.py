"""Synapse: a user sends messages to a room, and another one follows them by /sync.

It stands on the harness of Synapse's own tests: the whole homeserver, on SQLite, with requests
that do not go through sockets.
"""

import unittest as standard

from synapse.rest import admin
from synapse.rest.client import login, room, sync

from tests import unittest

MESSAGES = 150


class Room(unittest.HomeserverTestCase):
    stopwatch = None
    servlets = (
        admin.register_servlets_for_client_rest_resource,
        login.register_servlets,
        room.register_servlets,
        sync.register_servlets,
    )

    def default_config(self):
        config = super().default_config()
        config["rc_message"] = {"per_second": 10000, "burst_count": 10000}
        return config

    def exchange(self, number):
        self.helper.send(self.room, f"message {number}", tok=self.alice)
        path = f"/_matrix/client/v3/sync?since={self.since}" if self.since else SYNC
        answer = self.make_request("GET", path, access_token=self.bob)
        assert answer.code == 200, answer.result
        self.since = answer.json_body["next_batch"]

    def test_room(self):
        for name in ("alice", "bob"):
            self.register_user(name, "secret")
        self.alice, self.bob = self.login("alice", "secret"), self.login("bob", "secret")
        self.room = self.helper.create_room_as("@alice:test", tok=self.alice)
        self.helper.join(self.room, "@bob:test", tok=self.bob)
        self.since = None
        for number in range(10):
            self.exchange(number)
        self.stopwatch.start()
        for number in range(MESSAGES):
            self.exchange(number)
        self.stopwatch.stop(MESSAGES)


SYNC = "/_matrix/client/v3/sync"


def run(stopwatch):
    from twisted.trial.reporter import TestResult

    Room.stopwatch = stopwatch
    result = TestResult()
    standard.TestSuite([Room("test_room")]).run(result)
    for _, problem in [*result.errors, *result.failures]:
        problem.printTraceback()
