//! Prints what the analysis of unread parameters takes instructions to do, a line for each line of 32 hexadecimal
//! digits that is read, for `netem/gpu/unread_effects.py`. The argument is their compute capability, such as 90.

use std::error::Error;
use std::io::{self, BufRead, BufWriter, Write};

use rrto_core::image::unread;

fn main() -> Result<(), Box<dyn Error>> {
    let architecture = std::env::args().nth(1).ok_or("which compute capability?")?.parse()?;
    let mut out = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let effect = unread::effect(u128::from_str_radix(&line?, 16)?, architecture);
        writeln!(out, "{:?}", effect.ok_or("there is no analysis of its code")?)?;
    }
    Ok(out.flush()?)
}
