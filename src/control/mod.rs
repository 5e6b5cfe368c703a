//! The control plane: the one owner of domain transitions.
