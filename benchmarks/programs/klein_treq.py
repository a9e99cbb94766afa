"""A Klein application, and treq asking it: four requests at a time on kept connections."""

import treq
from klein import Klein
from twisted.internet import defer, reactor, task
from twisted.web.client import HTTPConnectionPool
from twisted.web.server import Site

REQUESTS = 1200
TOGETHER = 4

app = Klein()


async def look_up(name):
    await task.deferLater(reactor, 0)
    return f"Hello, {name}!"


@app.route("/hello/<name>")
async def hello(request, name):
    request.setHeader("content-type", "text/plain")
    return await look_up(name)


async def client(pool, address, count):
    for number in range(count):
        response = await treq.get(f"{address}/hello/{number}", pool=pool)
        assert await response.text() == f"Hello, {number}!"


async def clients(pool, address, count):
    await defer.gatherResults(
        defer.ensureDeferred(client(pool, address, count // TOGETHER)) for _ in range(TOGETHER)
    )


async def requests(stopwatch):
    site = Site(app.resource())
    site.noisy = False
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    address = f"http://127.0.0.1:{port.getHost().port}"
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = TOGETHER
    await clients(pool, address, 100)
    stopwatch.start()
    await clients(pool, address, REQUESTS)
    stopwatch.stop(REQUESTS)
    await pool.closeCachedConnections()


def run(stopwatch):
    d = defer.ensureDeferred(requests(stopwatch))
    d.addErrback(lambda f: f.printTraceback()).addBoth(lambda _: reactor.stop())
    reactor.run()
