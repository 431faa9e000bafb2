//! The audit log: complete, in order, and every change of it shows.

use holdfast_coordinator::store::audit::{self, first_break};

use crate::support::{Database, Installation, on_both};

on_both!(entries_chain_and_a_changed_one_shows);

async fn entries_chain_and_a_changed_one_shows(database: Database) {
    let at = Installation::new(database);
    let (store, _lock) = crate::store_schema::open(&at).await;
    for number in 0..5 {
        let mut tx = store.begin().await.expect("begun");
        audit::add(&mut tx, number, "operator ann", "run.start", "r", "detail")
            .await
            .expect("added");
        if number == 2 {
            // Rolled back: no gap remains.
            drop(tx);
        } else {
            tx.commit().await.expect("committed");
        }
    }
    let mut connection = store.read().await.expect("readable");
    let entries = audit::list(&mut connection, 0, 100).await.expect("listed");
    assert_eq!(
        entries
            .iter()
            .map(|entry| entry.sequence)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!(first_break(&entries), None);

    let mut changed = entries.clone();
    changed[1].detail = "nothing happened".into();
    assert_eq!(first_break(&changed), Some(2));
    let mut removed = entries.clone();
    removed.remove(1);
    assert_eq!(first_break(&removed), Some(3));
    let mut moved = entries;
    (moved[0].actor, moved[0].action) = ("operator".into(), " annrun.start".into());
    assert_eq!(first_break(&moved), Some(1));
}
