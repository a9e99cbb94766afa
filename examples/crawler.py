"""A crawler that fetches ten pages at a time, each with a timeout.

The site is on this machine. Some of its pages never arrive, and some links are dead. `crawl` does
the work. crawler_by_hand.py does the same with Deferreds alone.
"""

import asyncio

from deferrous import concurrency, ensureDeferred

PAGES = 120
LIMIT = 10
PATIENCE = 2


# Begin of the crawler.
async def crawl(fetch, start):
    """Fetch a page, and all pages reachable from it. Return their links, and the errors."""
    links, errors, seen = {}, {}, {start}
    queue = concurrency.Queue()
    queue.put_nowait(start)

    async def work():
        async for name in queue:
            try:
                async with concurrency.timeout(PATIENCE):
                    links[name] = await fetch(name)
            except (TimeoutError, OSError) as error:
                errors[name] = type(error).__name__
            for new in [new for new in links.get(name, ()) if new not in seen]:
                seen.add(new)
                queue.put_nowait(new)
            queue.task_done()

    async with concurrency.TaskGroup() as group:
        for _ in range(LIMIT):
            group.create_task(work())
        await queue.join()
        queue.shutdown()
    return links, errors


# End of the crawler.


class Site:
    """Serves pages that link to each other. `most` is how many it has served at once."""

    def __init__(self):
        self.now = self.most = self.hung_up = 0

    async def serve(self, reader, writer):
        self.now += 1
        self.most = max(self.most, self.now)
        number = int(await reader.readline())
        try:
            if number % 31 == 30:
                # This page never arrives. The client gives up, and closes the connection.
                await reader.read()
                self.hung_up += 1
                return
            await asyncio.sleep(0.001)
            if number < PAGES:
                following = [2 * number + 1, 2 * number + 2, (number + 7) % PAGES]
                writer.write(" ".join(map(str, following)).encode() + b"\n")
        finally:
            self.now -= 1
            writer.close()


def fetcher(port):
    async def fetch(name):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"{name}\n".encode())
            line = await reader.readline()
            if not line:
                raise ConnectionResetError(f"no page {name}")
            return [int(each) for each in line.split()]
        finally:
            writer.close()

    return fetch


async def main(crawl):
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    links, errors = await crawl(fetcher(port), 0)
    server.close()

    never = {name for name, error in errors.items() if error == "TimeoutError"}
    dead = {name for name, error in errors.items() if error == "ConnectionResetError"}
    # All pages were fetched, except those that never arrive and the dead links.
    assert set(links) == {n for n in range(PAGES) if n % 31 != 30}, sorted(links)
    assert all(name % 31 == 30 for name in never)
    assert all(name >= PAGES for name in dead)
    assert site.most <= LIMIT
    print(f"{len(links)} pages, {len(dead)} dead links, {len(never)} that never came")
    print(f"never more than {LIMIT} at a time")


if __name__ == "__main__":
    asyncio.run(main(lambda *args: ensureDeferred(crawl(*args))))
