//! Work that is done once and answers a question. No job knows another, or a unit.

pub mod browse;
pub mod check;
pub mod compare;
