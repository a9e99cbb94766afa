//! The core where memory runs out: what was to be kept comes back, and all else is as before.

// The extension module has an allocator of its own.
#![cfg(not(feature = "python"))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;

use deferrous::core::{Boxed, Chain, Kinds, Link, NoMemory, Slot};

/// The allocator of this program, which says no where a test has it do so.
struct Refusing;

thread_local! {
    /// How many allocations of this thread are still granted.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn granted() -> bool {
    let left = LEFT.get();
    if left != usize::MAX && left != 0 {
        LEFT.set(left - 1);
    }
    left != 0
}

// SAFETY: it is the system's allocator, but for null pointers, which say that there is no memory.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        if granted() { unsafe { System.alloc(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; the memory is the system's.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if granted() {
            // SAFETY: as for `dealloc`.
            unsafe { System.realloc(memory, layout, size) }
        } else {
            std::ptr::null_mut()
        }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

/// Do something with so many allocations.
fn with_left<R>(count: usize, work: impl FnOnce() -> R) -> R {
    LEFT.set(count);
    let result = work();
    LEFT.set(usize::MAX);
    result
}

struct Numbers;

impl Kinds for Numbers {
    type Value = u32;
    type Failure = u32;
    type Callback = u32;
    type Deferred = Infallible;
    type Waiter = Infallible;
    type Canceller = Infallible;
    type Flag = bool;
    type Runner = ();
}

fn numbers(chain: &Chain<Numbers>) -> Vec<u32> {
    let number = |link: &Link<Numbers>| match link {
        Link::OnValue(number) => *number,
        _ => u32::MAX,
    };
    chain.links().iter().map(number).collect()
}

#[test]
fn a_box_is_refused() {
    let refused = with_left(0, || Boxed::new("kept"));
    assert!(matches!(refused, Err(NoMemory("kept"))));
    assert_eq!(format!("{:?}", NoMemory(1)), "NoMemory");
    let mut boxed = with_left(1, || Boxed::new(1)).unwrap();
    *boxed += 1;
    assert_eq!((*boxed, boxed.into_inner()), (2, 2));
}

#[test]
fn the_first_link_needs_no_memory() {
    for add in [Chain::add, Chain::add_front] {
        let mut chain = Chain::<Numbers>::default();
        assert!(with_left(0, || add(&mut chain, Link::OnValue(1))).is_ok());
        assert_eq!(numbers(&chain), [1]);
    }
}

/// The second takes one piece, in which there is room for three more.
#[test]
fn few_links_need_memory_once() {
    let mut chain = Chain::<Numbers>::default();
    chain.add(Link::OnValue(1)).unwrap();
    assert!(with_left(0, || chain.add(Link::OnValue(2))).is_err());
    assert!(with_left(1, || chain.add(Link::OnValue(2))).is_ok());
    for number in 3..=5 {
        assert!(with_left(0, || chain.add(Link::OnValue(number))).is_ok());
    }
    assert!(with_left(0, || chain.add(Link::OnValue(6))).is_err());
    assert_eq!(numbers(&chain), [1, 2, 3, 4, 5]);
}

/// Whatever there is already, and at whichever end: a link that there is no room for comes back,
/// and those that are there stay in their order.
#[test]
fn a_link_without_room_comes_back() {
    let mut refusals = 0;
    for back in 0..40 {
        for front in 0..10 {
            for in_front in [false, true] {
                let mut chain = Chain::<Numbers>::default();
                for n in 0..back {
                    chain.add(Link::OnValue(n)).unwrap();
                }
                for n in 0..front {
                    chain.add_front(Link::OnValue(100 + n)).unwrap();
                }
                let before = numbers(&chain);
                let link = Link::OnValue(1000);
                let added =
                    with_left(0, || if in_front { chain.add_front(link) } else { chain.add(link) });
                let mut expected = before.clone();
                match added {
                    Ok(()) if in_front => expected.insert(0, 1000),
                    Ok(()) => expected.push(1000),
                    Err(NoMemory(Link::OnValue(1000))) => refusals += 1,
                    Err(_) => panic!("another link came back"),
                }
                assert_eq!(numbers(&chain), expected);
                // Then there is memory again.
                chain.add(Link::OnValue(7)).unwrap();
                chain.add_front(Link::OnValue(8)).unwrap();
                expected.insert(0, 8);
                expected.push(7);
                assert_eq!(numbers(&chain), expected);
                assert!(chain.fire(Slot::Value(0)).is_ok());
            }
        }
    }
    assert!(refusals > 50, "{refusals}");
}
