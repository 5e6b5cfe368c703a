//! The cores of the data plane: how many there are, on which one a thread works, and values that each
//! core has for itself, so that no core writes a cache line that another one writes.

use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    /// The number of this thread's core. Threads of no core use the values of the first.
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// How many cores the process may use, as its affinity and its cgroup allow.
pub fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// From now on this thread works for a core, counted from 0.
pub fn enter(core: usize) {
    HERE.set(core);
}

/// One value for each core. Clones share them.
#[derive(Debug)]
pub struct PerCore<T> {
    all: Arc<Values<T>>,
}

#[derive(Debug)]
struct Values<T> {
    first: T,
    further: Box<[T]>,
}

impl<T> PerCore<T> {
    /// A value for each core.
    ///
    /// # Errors
    /// The first error of `make`.
    pub fn try_make<E>(make: impl Fn() -> Result<T, E>) -> Result<Self, E> {
        let first = make()?;
        let further = (1..count()).map(|_| make()).collect::<Result<_, _>>()?;
        Ok(Self::of(first, further))
    }

    fn of(first: T, further: Box<[T]>) -> Self {
        let all = Arc::new(Values { first, further });
        Self { all }
    }

    /// The value of the core that this thread works for.
    pub fn here(&self) -> &T {
        let further = HERE.get().checked_sub(1).and_then(|at| self.all.further.get(at));
        further.unwrap_or(&self.all.first)
    }

    /// The values of all cores.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.all.first).chain(&self.all.further)
    }

    /// What `f` makes of each value.
    pub fn map<U>(&self, f: impl Fn(&T) -> U) -> PerCore<U> {
        PerCore::of(f(&self.all.first), self.all.further.iter().map(&f).collect())
    }

    /// What `f` makes of the two values of each core.
    pub fn with<U, V>(&self, other: &PerCore<U>, f: impl Fn(&T, &U) -> V) -> PerCore<V> {
        let further = self.all.further.iter().zip(&other.all.further);
        let further = further.map(|(a, b)| f(a, b)).collect();
        PerCore::of(f(&self.all.first, &other.all.first), further)
    }
}

impl<T> Clone for PerCore<T> {
    fn clone(&self) -> Self {
        let all = Arc::clone(&self.all);
        Self { all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_no_core_uses_the_values_of_the_first() {
        let values = PerCore::of(10, Box::new([20]));
        let on = |core| {
            let values = values.clone();
            let thread = std::thread::spawn(move || {
                enter(core);
                *values.here()
            });
            thread.join().unwrap()
        };
        assert_eq!(*values.here(), 10);
        assert_eq!([on(0), on(1), on(2)], [10, 20, 10]);
    }
}
