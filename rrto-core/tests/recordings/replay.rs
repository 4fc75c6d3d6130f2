//! What replay makes of real programs.
use rrto_core::wire::Mode;
use rrto_core::log::recording::{Event};
use rrto_core::operator::Operator;
use std::collections::BTreeMap;

use crate::golden;
use crate::player::{Costs, Player};

#[test]
fn explore() {
    for name in golden::names() {
        let events: Vec<Event> = golden::events(golden::recording(&name)).collect();
        let mut h: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
        let mut k = 0;
        for event in &events { match event {
            Event::Submit { record, .. } => { k += 1; if let Operator::CopyIn { bytes, .. } = record.operator { let e = h.entry(bytes).or_default(); e.0 += 1; e.1 = k; } }
            _ => {}
        } }
        let h: BTreeMap<_, _> = h.into_iter().filter(|(_, e)| e.1 * 10 > k * 8).collect();
        println!("{name}: {k} submits; late copies {h:?}");
        let mut marks: Vec<(u64, Costs)> = Vec::new();
        let t = std::time::Instant::now();
        let player = Player::play(Mode::Replay, &events, |operator, costs| {
            if let Operator::CopyIn { bytes, .. } = operator { marks.push((*bytes, costs)); }
        });
        let same = player.issued == player.pair.device.arrived;
        println!("  same {same} issued {} arrived {} {:?}", player.issued.len(), player.pair.device.arrived.len(), t.elapsed());
        let s = player.pair.client.replay_statistics();
        println!("  {:?}", player.pair.carried);
        println!("  found {} retired {} runs {} replayed {} recorded {} patched {} div {:?}", s.found, s.retired, s.runs, s.replayed_operators, s.recorded_operators, s.patched_operators, s.divergences);
        for q in s.sequences { println!("    {} ops {} varying {} runs {} patched {} div {:?} live {}", q.id, q.operators, q.varying, q.runs, q.patched_operators, q.divergences, q.live); }
        for w in marks[marks.len().saturating_sub(14)..].windows(2) { println!("    {} trips {} up {} down {}", w[0].0, w[1].1.round_trips - w[0].1.round_trips, w[1].1.control_up - w[0].1.control_up, w[1].1.control_down - w[0].1.control_down); }
    }
}
