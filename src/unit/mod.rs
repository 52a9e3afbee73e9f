//! The processing units. Each takes in one thing, gives out another, and goes on from where its
//! checkpoint says; none knows another.

pub mod dump;
pub mod load;
pub mod relay;
pub mod sync;
pub mod transfer;
