"""A service for documents. A document can have any number of readers at a time, or one writer.

Rendering is slow, so clients that ask for the same document at the same time share one rendering.
Each client connects to a socket of this machine, and sends one line. `Documents` is the service.
service_by_hand.py does the same with Deferreds alone.
"""

import asyncio

from deferrous import concurrency, ensureDeferred


# Begin of the service.
class Documents:
    def __init__(self, store):
        self.store = store
        self.locks = {}
        self.render = concurrency.once(self._render)

    def lock_of(self, name):
        return self.locks.setdefault(name, concurrency.ReadWriteLock())

    async def read(self, name):
        async with self.lock_of(name).reading:
            return await self.store.load(name)

    async def write(self, name, text):
        async with self.lock_of(name).writing:
            await self.store.save(name, text)

    async def _render(self, name):
        return (await self.store.typeset(await self.read(name))).upper()


# End of the service.


class Store:
    """A slow store. It fails if a document is read and written at the same time."""

    def __init__(self):
        self.texts = {}
        self.readers, self.writers = {}, {}
        self.most_readers = self.typeset_calls = 0

    async def load(self, name):
        assert not self.writers.get(name)
        self.readers[name] = self.readers.get(name, 0) + 1
        self.most_readers = max(self.most_readers, self.readers[name])
        await asyncio.sleep(0.002)
        self.readers[name] -= 1
        return self.texts.get(name, "")

    async def save(self, name, text):
        assert not self.writers.get(name)
        assert not self.readers.get(name)
        self.writers[name] = True
        await asyncio.sleep(0.002)
        self.texts[name] = text
        self.writers[name] = False

    async def typeset(self, text):
        self.typeset_calls += 1
        await asyncio.sleep(0.01)
        return text


class Server:
    def __init__(self, documents):
        self.documents = documents

    async def serve(self, reader, writer):
        try:
            command, name, *rest = (await reader.readline()).decode().split()
            answer = await ensureDeferred(self.answer(command, name, *rest))
            writer.write(f"{answer}\n".encode())
            await writer.drain()
        finally:
            writer.close()

    async def answer(self, command, name, *rest):
        if command == "write":
            await self.documents.write(name, *rest)
            return "written"
        if command == "read":
            return await self.documents.read(name)
        return await self.documents.render(name)


async def ask(port, line):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(line.encode() + b"\n")
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


async def main(make):
    store = Store()
    server = await asyncio.start_server(Server(make(store)).serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await ask(port, "write letter first") == "written"
    lines = ["read letter"] * 10 + ["write letter second"] + ["read letter"] * 10
    answers = await asyncio.gather(*(ask(port, line) for line in lines))
    assert set(answers) <= {"first", "second", "written"}
    assert store.most_readers > 1
    # If one client gives up, the others still get the result.
    asking = [asyncio.ensure_future(ask(port, "render letter")) for _ in range(20)]
    await asyncio.sleep(0.005)
    asking.pop().cancel()
    assert set(await asyncio.gather(*asking)) == {"SECOND"}
    server.close()
    print(f"{store.most_readers} readers at a time, rendered {store.typeset_calls} times for 20")
    assert store.typeset_calls < 20


if __name__ == "__main__":
    asyncio.run(main(Documents))
