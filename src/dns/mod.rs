//! What a name's DNS says, and what its owner has to change.
