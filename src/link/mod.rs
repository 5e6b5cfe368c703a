//! Tracking links: who minted them, and where they lead.
