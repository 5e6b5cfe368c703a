//! The data plane: from an accepted connection to a reply, all from memory.
