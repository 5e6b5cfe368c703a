//! An ACME CA in process, for `demo` and, with faults injected, for tests.
