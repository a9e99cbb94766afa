"""Perspective Broker: a client calls a method of a server's, one call after the other."""

from twisted.internet import defer, reactor
from twisted.spread import pb

CALLS = 4000


class Server(pb.Root):
    def remote_add(self, a, b):
        return a + b


@defer.inlineCallbacks
def calls(stopwatch):
    port = reactor.listenTCP(0, pb.PBServerFactory(Server()), interface="127.0.0.1")
    factory = pb.PBClientFactory()
    reactor.connectTCP("127.0.0.1", port.getHost().port, factory)
    root = yield factory.getRootObject()
    for _ in range(200):
        yield root.callRemote("add", 1, 2)
    stopwatch.start()
    for number in range(CALLS):
        assert (yield root.callRemote("add", number, 1)) == number + 1
    stopwatch.stop(CALLS)


def run(stopwatch):
    calls(stopwatch).addErrback(lambda f: f.printTraceback()).addBoth(lambda _: reactor.stop())
    reactor.run()
