//! The admin port: JSON API, health, metrics.
