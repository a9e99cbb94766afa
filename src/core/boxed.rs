//! A box whose allocation can fail.

use std::ops::{Deref, DerefMut};

use super::error::NoMemory;
use super::refusable::refusable;

/// A value on the heap. Without memory, making one returns an error, where `Box::new` would abort
/// the process.
#[derive(Debug)]
pub struct Boxed<T>(Box<[T; 1]>);

impl<T> Boxed<T> {
    /// Move a value to the heap.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] with the value.
    pub fn new(value: T) -> Result<Self, NoMemory<T>> {
        let mut place = Vec::new();
        if refusable(|| place.try_reserve_exact(1)).is_err() {
            return Err(NoMemory(value));
        }
        place.push(value);
        match place.into_boxed_slice().try_into() {
            Ok(only) => Ok(Self(only)),
            Err(_) => unreachable!("one was put in"),
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        let [value] = *self.0;
        value
    }
}

impl<T> Deref for Boxed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let [value] = &*self.0;
        value
    }
}

impl<T> DerefMut for Boxed<T> {
    fn deref_mut(&mut self) -> &mut T {
        let [value] = &mut *self.0;
        value
    }
}
