"""The crawler of crawler.py with Deferreds alone. It shows what `deferrous.concurrency` saves."""

import asyncio
from collections import deque

import deferrous as defer
from crawler import LIMIT, PATIENCE, main


# Begin of the crawler.
class Crawler:
    def __init__(self, fetch, start):
        self.fetch = fetch
        self.links, self.errors, self.seen = {}, {}, {start}
        self.waiting = deque([start])
        self.running = set()
        self.filling = self.finished = False
        self.done = defer.Deferred(self.cancel)

    def begin(self):
        self.fill()
        return self.done

    def fill(self):
        # If a page is there at once, `ended` calls this again: do not recurse.
        if self.filling:
            return
        self.filling = True
        while self.waiting and len(self.running) < LIMIT:
            self.fetch_one(self.waiting.popleft())
        self.filling = False
        if not self.running and not self.waiting:
            self.finish((self.links, self.errors))

    def fetch_one(self, name):
        d = defer.maybeDeferred(self.fetch, name)
        d.addTimeout(PATIENCE)
        self.running.add(d)
        d.addCallbacks(self.fetched, self.failed, callbackArgs=(name,), errbackArgs=(name,))
        d.addErrback(self.broken)
        d.addBoth(self.ended, d)

    def fetched(self, links, name):
        self.links[name] = links
        for new in links:
            if new not in self.seen:
                self.seen.add(new)
                self.waiting.append(new)

    def failed(self, failure, name):
        failure.trap(defer.TimeoutError, OSError)
        self.errors[name] = failure.type.__name__

    def broken(self, failure):
        # An unexpected error: stop everything, and fail.
        self.cancel(None)
        self.finish(failure)

    def finish(self, result):
        if not self.finished:
            self.finished = True
            self.done.callback(result)

    def ended(self, _, d):
        self.running.discard(d)
        self.fill()

    def cancel(self, cancelled):
        self.finished = self.finished or cancelled is not None
        self.waiting.clear()
        for d in list(self.running):
            d.cancel()


def crawl(fetch, start):
    """Fetch a page, and all pages reachable from it. Return their links, and the errors."""
    return Crawler(fetch, start).begin()


# End of the crawler.

if __name__ == "__main__":
    asyncio.run(main(crawl))
