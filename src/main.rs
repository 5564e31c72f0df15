//! The one binary: subcommands, one match.

fn main() {}
