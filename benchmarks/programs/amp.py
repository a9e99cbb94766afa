"""AMP: ten commands at a time between a client and a server."""

from twisted.internet import defer, endpoints, protocol, reactor
from twisted.protocols import amp

CALLS = 4000
TOGETHER = 10


class Add(amp.Command):
    arguments = ((b"a", amp.Integer()), (b"b", amp.Integer()))
    response = ((b"sum", amp.Integer()),)


class Server(amp.AMP):
    @Add.responder
    async def add(self, a, b):
        return {"sum": a + b}


async def client(connection, count):
    for number in range(count):
        assert (await connection.callRemote(Add, a=number, b=1))["sum"] == number + 1


async def clients(connection, count):
    await defer.gatherResults(
        defer.ensureDeferred(client(connection, count // TOGETHER)) for _ in range(TOGETHER)
    )


async def calls(stopwatch):
    factory = protocol.Factory.forProtocol(Server)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    connection = await endpoints.connectProtocol(endpoint, amp.AMP())
    await clients(connection, 200)
    stopwatch.start()
    await clients(connection, CALLS)
    stopwatch.stop(CALLS)


def run(stopwatch):
    d = defer.ensureDeferred(calls(stopwatch))
    d.addErrback(lambda f: f.printTraceback()).addBoth(lambda _: reactor.stop())
    reactor.run()
