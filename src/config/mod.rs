//! The configuration file: one file a section; load, check, reload.
