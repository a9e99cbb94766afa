//! The links of a chain: in which order they come, and that they are a queue.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use deferrous::core::{Chain, Kinds, Link, Links, Slot};
use proptest::prelude::*;

mod names;
use names::{Names, fired, linked, told};

#[test]
fn links_keep_their_order() {
    let mut chain = fired(Slot::Value(1));
    for callback in ["c", "d", "e"] {
        chain.add(Link::OnValue(callback)).unwrap();
    }
    chain.add_front(Link::OnValue("b")).unwrap();
    chain.add_front(Link::OnFailure("a")).unwrap();
    let seen: Vec<_> = chain.links().iter().map(linked).collect();
    assert_eq!(seen.join(", "), "on failure a, on value b, on value c, on value d, on value e");
    assert_eq!(chain.links().len(), 5);

    assert_eq!(told(chain.turn()), "skip on failure a");
    assert_eq!(told(chain.turn()), "call b with Value(1)");
    // The front is empty now, and what is added still comes last or first.
    chain.add(Link::OnValue("f")).unwrap();
    chain.add_front(Link::OnValue("z")).unwrap();
    for callback in ["z", "c", "d", "e", "f"] {
        assert_eq!(told(chain.turn()), format!("call {callback} with Value(1)"));
    }
    assert_eq!(told(chain.turn()), "rest");
    assert!(chain.links().is_empty());
}

#[test]
fn links_can_be_taken_out() {
    let mut chain = fired(Slot::Value(1));
    chain.add(Link::OnValue("f")).unwrap();
    chain.add(Link::OnValue("g")).unwrap();
    let mut links = chain.take_links();
    assert!(chain.links().is_empty() && chain.is_at_rest());
    assert_eq!(links.len(), 2);
    assert!(matches!(links.pop_front(), Some(Link::OnValue("f"))));
    assert_eq!((links.len(), links.is_empty()), (1, false));
    assert!(matches!(links.pop_front(), Some(Link::OnValue("g"))));
    assert_eq!((links.len(), links.is_empty()), (0, true));
    assert!(links.pop_front().is_none());

    let mut links = Links::<Names>::default();
    links.push_front(Link::OnValue("f")).unwrap();
    assert_eq!(links.iter().count(), 1);
    assert!(matches!(links.pop_front(), Some(Link::OnValue("f"))));
}

#[test]
fn a_link_is_added_unless_the_chain_has_to_be_run() {
    let mut chain = Chain::<Names>::default();
    assert!(matches!(chain.add_unless_runnable(Link::OnValue("f")), Ok(None)));
    assert_eq!(chain.links().len(), 1);
    assert!(chain.fire(Slot::Value(1)).is_ok());
    assert!(matches!(chain.add_unless_runnable(Link::OnValue("g")), Ok(Some(Link::OnValue("g")))));
    assert_eq!(chain.links().len(), 1);
}

#[test]
fn each_is_called_in_its_turn_by_the_fast_path() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut chain = fired(Slot::Value(1));
    for name in names {
        chain.add(Link::OnValue(name)).unwrap();
    }
    for (at, name) in names.into_iter().enumerate() {
        assert_eq!(chain.links().len(), names.len() - at);
        let called = chain.turn_to_call(|_| true).map(|(callback, _)| callback);
        assert_eq!(called, Some(name));
        let _ = chain.settle(Slot::Value(1));
    }
    assert!(chain.turn_to_call(|_| true).is_none());
    assert!(chain.links().is_empty());
}

/// What notes its number when it is dropped.
struct Noted(u32, Rc<RefCell<Vec<u32>>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}

struct Notes;

impl Kinds for Notes {
    type Value = i32;
    type Failure = i32;
    type Callback = Noted;
    type Deferred = char;
    type Waiter = char;
    type Canceller = char;
    type Flag = bool;
    type Runner = ();
}

/// As a list of Python's does it.
#[test]
fn the_last_is_dropped_first() {
    let dropped = Rc::default();
    let mut links = Links::<Notes>::default();
    for number in 0..9 {
        links.push_back(Link::OnValue(Noted(number, Rc::clone(&dropped)))).unwrap();
    }
    drop(links);
    assert_eq!(*dropped.borrow(), [8, 7, 6, 5, 4, 3, 2, 1, 0]);
}

proptest! {
    /// Whatever is pushed and popped, in whatever order: at each moment what a `VecDeque` has.
    #[test]
    fn links_are_a_queue(ops in proptest::collection::vec(0u8..5, 0..60)) {
        let names = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX";
        let mut links = Links::<Names>::default();
        let mut model = VecDeque::new();
        for (at, op) in ops.into_iter().enumerate() {
            let name = &names[at..=at];
            match op {
                0 | 1 => {
                    links.push_back(Link::OnValue(name)).unwrap();
                    model.push_back(name);
                }
                2 => {
                    links.push_front(Link::OnValue(name)).unwrap();
                    model.push_front(name);
                }
                _ => {
                    let popped = match links.pop_front() {
                        Some(Link::OnValue(name)) => Some(name),
                        _ => None,
                    };
                    prop_assert_eq!(popped, model.pop_front());
                }
            }
            let names = links.iter().map(|link| match link {
                Link::OnValue(name) => *name,
                _ => "",
            });
            prop_assert!(names.eq(model.iter().copied()));
            prop_assert_eq!((links.len(), links.is_empty()), (model.len(), model.is_empty()));
        }
    }
}
