//! Private servers, the real binary and an independent comparison: what the integration tests stand on.
//!
//! Each test binary takes this module in with `#[path = "../support/mod.rs"] mod support;`. Everything
//! that is started here ends with the value that stands for it, and also when the test process is
//! killed: see [`process`].

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses a part of it"
)]

pub(crate) mod client;
pub(crate) mod compare;
pub(crate) mod ddl_corpus;
pub(crate) mod disk;
pub(crate) mod fixture;
pub(crate) mod front;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod server;
pub(crate) mod slots;
pub(crate) mod tideway;
pub(crate) mod traffic;

pub(crate) use client::Client;
pub(crate) use compare::assert_equal;
pub(crate) use front::Front;
pub(crate) use proxy::Proxy;
pub(crate) use server::{Flavor, Server, ServerSpec};
pub(crate) use tideway::{Task, Tideway};
pub(crate) use traffic::Traffic;
