"""Freeing long structures of any kind, anywhere, takes little stack.

Each script runs in an interpreter of its own, so that one that crashes harms no other.
"""

import subprocess
import sys
import sysconfig

import pytest
from dying_kinds import KINDS
from helpers import LITTLE_STACK, run_script

#: The smallest stack of a thread that is tried, in KiB. From 3.14 on CPython keeps 36 for itself,
#: and what it has put off, long nested lists as well, it frees only with some 80 more to spare.
SMALLEST = 128 if sys.version_info >= (3, 14) else 64

pytestmark = pytest.mark.deferrous_only


def run(script):
    run_script("deferrous", KINDS + script)


@pytest.mark.parametrize("how", ["drop", "collect"])
def test_on_the_main_stack(how):
    run(f"""
for name, kind in KINDS.items():
    print(name, file=sys.stderr)
    {how}(kind, 60_000 if name == "mixed" else 20_000)
""")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all of a stack is there at once")
@pytest.mark.parametrize("size", [0, 500])
@pytest.mark.parametrize("how", ["drop", "collect"])
def test_on_a_stack_that_grows_no_more(how, size):
    """As that of the main thread where a process may have no more memory."""
    run(
        LITTLE_STACK
        + f"""
stop_the_stack({size})
for name, kind in KINDS.items():
    print(name, file=sys.stderr)
    {how}(kind, 20_000)
"""
    )


@pytest.mark.parametrize("size", [512, 256, SMALLEST])
@pytest.mark.parametrize("how", ["drop", "collect"])
def test_on_small_stacks(how, size):
    run(f"""
for name, kind in KINDS.items():
    print(name, file=sys.stderr)
    in_thread({size}, {how}, kind, 4_000)
""")


@pytest.mark.parametrize(
    "name", ["queue_size", "attribute of Deferred Sub", "result_in_a_tuple", "lock_waiting"]
)
def test_a_long_one(name):
    run(f"drop(KINDS[{name!r}], 300_000)")


@pytest.mark.parametrize("size", [8192, 512])
def test_deep_in_recursion(size):
    """Where hardly any stack is left. What has to wait there dies further up."""
    run(f"""
class Descends:
    def __eq__(self, other):
        other.levels += 1
        if other.levels == 300:
            other.box.clear()
            return True
        return Descends() == other

class Bottom(Anything):
    levels = 0

def descend(kind):
    bottom = Bottom()
    head, end, seen = build(kind, 4_000)
    bottom.box = [head]
    del head, end
    assert Descends() == bottom
    drop(KINDS["result_in_a_tuple"], 1)
    gc.collect()
    assert seen() is None

for name, kind in KINDS.items():
    print(name, file=sys.stderr)
    in_thread({size}, descend, kind)
""")


def test_dead_that_a_thread_leaves_are_freed_by_others():
    """A thread that has hardly any stack from its first use of a Deferred on."""
    run(
        f"SMALLEST = {SMALLEST}"
        + """
class Descends:
    def __eq__(self, box):
        box.append(None)
        if len(box) < 40:
            return Descends() == box
        del box[1:]
        head, end, seen = build(KINDS["canceller"], 1000)
        box[0] = seen
        return True

seen = []
def use():
    box = [None]
    assert Descends() == box
    seen.append(box[0])

for _ in range(20):
    in_thread(SMALLEST, use)
drop(KINDS["canceller"], 1)
for _ in range(100):
    pass
assert [it() for it in seen] == [None] * 20
"""
    )


GREENLETS = """
import random
import sysconfig
import greenlet

hub = greenlet.getcurrent()

class Switches:
    def __del__(self):
        try:
            hub.switch()
        except greenlet.GreenletExit:
            pass

def chain(inner, count):
    for _ in range(count):
        inner = mixed(inner)
    return inner

def dies_at_once():
    end = Anything()
    seen = weakref.ref(end)
    head = Deferred(lambda _: end)
    for i in range(100):
        head = KINDS[("canceller", "queue_item", "result_in_a_tuple")[i % 3]](head)
    del end, head
    assert seen() is None
"""


@pytest.mark.parametrize("end", ["never resumed", "resumed", "killed", "forgotten"])
def test_finalizers_that_switch_to_another_greenlet(end):
    run(
        GREENLETS
        + f"""
done = []
def worker(number):
    chain(Switches(), 1 + number % 80)
    gc.collect()
    done.append(number)

suspended = []
for number in range(600):
    it = greenlet.greenlet(worker)
    it.switch(number)
    suspended.append(it)
    dies_at_once()
random.seed(1)
random.shuffle(suspended)
end = {end!r}
while suspended and end != "never resumed":
    it = suspended.pop()
    if end == "resumed":
        while not it.dead:
            it.switch()
    elif end == "killed":
        it.throw()
    del it
    dies_at_once()
drop(KINDS["queue_size"], 100_000)
# Greenlets that stand in the middle of a collection keep others from beginning. A build that can do
# without the GIL collects all at once, so one that is killed there may come to a second switch.
free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
if end == "resumed" or end != "never resumed" and not free:
    drop(mixed, 5_000)
assert end != "resumed" or sorted(done) == list(range(600))
"""
    )


def test_greenlets_that_take_turns_within_deaths():
    run(
        GREENLETS
        + """
refs = []
def worker():
    end = Anything()
    refs.append(weakref.ref(end))
    head = end
    for _ in range(20):
        head = KINDS["canceller"]([head, Switches()])
        for _ in range(1000):
            head = KINDS["queue_size"](head)
    del end
    del head

turns = [greenlet.greenlet(worker) for _ in range(10)]
random.seed(2)
while turns:
    it = random.choice(turns)
    it.switch()
    if it.dead:
        turns.remove(it)
assert [ref() for ref in refs] == [None] * 10
"""
    )


@pytest.mark.parametrize(
    ("native", "base"),
    [
        ("DeferredList([defer.Deferred()])", "Deferred"),
        ("DeferredLock()", "_ConcurrencyPrimitive"),
        ("DeferredSemaphore(1)", "_ConcurrencyPrimitive"),
    ],
)
@pytest.mark.parametrize("sub", [False, True])
def test_a_subclass_between_a_class_and_its_base(native, base, sub):
    """The collector sees what is in an object once, and takes rings apart."""
    name = native.partition("(")[0]
    free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    run_script(
        "deferrous",
        f"""
        import gc
        import sys
        import weakref

        class Between(defer.{base}):
            pass

        native = defer.{name}
        native.__bases__ = (Between,)
        if {sub}:
            defer.{name} = type("Sub", (native,), {{}})
        made = defer.{native}
        gc.collect()
        made.ring = [made]
        assert gc.get_referents(made).count(type(made)) == 1
        assert sum(it is made.__dict__ for it in gc.get_referents(made)) <= 1
        kind, ref = type(made), weakref.ref(made)
        del made
        before = sys.getrefcount(kind)
        gc.collect()
        assert ref() is None
        # Nobody counts the references to our own classes without the GIL.
        assert sys.getrefcount(kind) == before - (not {free} or {sub})
        """,
    )


ROWS_OF_SLOTS = """
from collections import deque
from deferrous import concurrency

class Plain:
    __slots__ = ("more",)
class OfDeferred(Deferred):
    __slots__ = ("more",)
class OfList(DeferredList):
    __slots__ = ("more",)
class OfQueue(DeferredQueue):
    __slots__ = ("more",)
class PlainWithItems:
    def __init__(self):
        self._items = deque()

def in_slot(cls, *args):
    def holder(inner):
        outer = cls(*args)
        outer.more = inner
        return outer
    return holder

def plain_items(inner):
    outer = PlainWithItems()
    outer._items.append(inner)
    return outer

def queue_items(inner):
    outer = concurrency.Queue()
    outer.put(inner)
    return outer

MAKE = {
    "plain slots": in_slot(Plain), "Deferred": in_slot(OfDeferred),
    "DeferredList": in_slot(OfList, []), "DeferredQueue": in_slot(OfQueue),
    "plain items": plain_items, "Queue": queue_items,
}
"""


@pytest.mark.parametrize("depth", [1_000, 2_000, 4_000, 20_000])
@pytest.mark.parametrize(
    ("ours", "plain"),
    [
        ("Deferred", "plain slots"),
        ("DeferredList", "plain slots"),
        ("DeferredQueue", "plain slots"),
        ("Queue", "plain items"),
    ],
)
def test_slots_die_as_deep_as_those_of_plain_objects(ours, plain, depth):
    """What is in the slots of a class of Python's is freed by CPython, on 3.13 by recursion."""

    def ends_well(name):
        script = KINDS + ROWS_OF_SLOTS + f"in_thread(512, drop, MAKE[{name!r}], {depth})"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=300)
        return done.returncode == 0

    assert ends_well(ours) or not ends_well(plain)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_threads_that_end_leave_what_they_keep_to_others():
    """Without the GIL, each thread keeps the memory of some dead objects."""
    run("""
import threading
from deferrous import Deferred

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def threads(number):
    for _ in range(number):
        thread = threading.Thread(target=lambda: [Deferred() for _ in range(64)])
        thread.start()
        thread.join()

threads(200)
before = resident()
threads(1_000)
# If it were lost, that would be some 9 million bytes.
assert resident() - before < 4_000_000
""")
