use std::sync::Barrier;

use super::*;
use crate::tx::OrFailed;

const MIGRATIONS: &[&str] = &["CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB) STRICT;"];

fn open(folder: &Path, migrations: &'static [&'static str]) -> Result<Db> {
    let path = folder.join("t.db");
    Db::open(&Layout { name: "test", path, durability: Durability::Normal, migrations, readers: 2 })
}

fn fresh() -> (tempfile::TempDir, Db) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), MIGRATIONS).unwrap();
    (folder, db)
}

async fn insert(db: &Db, k: i64) -> Result<()> {
    db.write(move |tx| {
        tx.execute("INSERT INTO t (k) VALUES (?1)", [k]).or_failed("test")?;
        Ok(())
    })
    .await
}

async fn keys(db: &Db) -> Vec<i64> {
    db.read(|c| {
        c.prepare("SELECT k FROM t ORDER BY k")
            .and_then(|mut all| all.query_map([], |row| row.get(0))?.collect())
            .or_failed("test")
    })
    .await
    .unwrap()
}

/// Polls once: the first poll of a write queues it.
async fn queue(mut write: std::pin::Pin<&mut (dyn Future<Output = Result<()>> + Send)>) {
    std::future::poll_fn(|cx| std::task::Poll::Ready(write.as_mut().poll(cx).is_pending())).await;
}

/// Holds the writer until the closure it returns is called, so that writes pile up into one batch.
fn hold(db: &Arc<Db>) -> impl FnOnce() {
    let barrier = Arc::new(Barrier::new(2));
    let (db, held) = (Arc::clone(db), Arc::clone(&barrier));
    let running = Arc::new(Barrier::new(2));
    let started = Arc::clone(&running);
    tokio::spawn(async move {
        db.write(move |_| {
            started.wait();
            held.wait();
            Ok(())
        })
        .await
    });
    tokio::task::block_in_place(|| running.wait());
    move || {
        barrier.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_together_share_one_commit() {
    let (_folder, db) = fresh();
    let db = Arc::new(db);
    let release = hold(&db);
    let mut writes: Vec<_> = (0..50).map(|k| Box::pin(insert(&db, k))).collect();
    for write in &mut writes {
        queue(write.as_mut()).await;
    }
    let before = db.stats().commits;
    release();
    for write in writes {
        write.await.unwrap();
    }

    assert_eq!(keys(&db).await.len(), 50);
    // The held one and the fifty.
    assert_eq!(db.stats().commits - before, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_refused_fails_alone() {
    let (_folder, db) = fresh();
    let db = Arc::new(db);
    let release = hold(&db);
    let mut good = Box::pin(insert(&db, 1));
    let mut refused = Box::pin(db.write(|tx| -> Result<()> {
        tx.add("INSERT INTO t (k) VALUES (?1 + ?2 + ?3)", 100, 10, 1);
        Err(Error::invalid("k", "is not wanted"))
    }));
    let mut double = Box::pin(insert(&db, 1));
    let mut panicking = Box::pin(db.write(|_| -> Result<()> { panic!("on purpose") }));
    queue(good.as_mut()).await;
    queue(refused.as_mut()).await;
    queue(double.as_mut()).await;
    queue(panicking.as_mut()).await;
    release();

    good.await.unwrap();
    assert_eq!(refused.await.unwrap_err().code(), "invalid");
    assert_eq!(double.await.unwrap_err().code(), "internal");
    assert_eq!(panicking.await.unwrap_err().code(), "internal");
    assert_eq!(keys(&db).await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_halfway_takes_its_batch_with_it_and_everyone_is_told() {
    let (_folder, db) = fresh();
    let db = Arc::new(db);
    let release = hold(&db);
    let mut before = Box::pin(insert(&db, 1));
    let mut halfway = Box::pin(db.write(|tx| -> Result<()> {
        tx.execute("INSERT INTO t (k) VALUES (2)", []).or_failed("test")?;
        panic!("on purpose")
    }));
    let mut after = Box::pin(insert(&db, 3));
    queue(before.as_mut()).await;
    queue(halfway.as_mut()).await;
    queue(after.as_mut()).await;
    release();

    assert_eq!(before.await.unwrap_err().code(), "unavailable");
    assert_eq!(halfway.await.unwrap_err().code(), "internal");
    assert_eq!(after.await.unwrap_err().code(), "unavailable");
    assert!(keys(&db).await.is_empty());
    insert(&db, 4).await.unwrap();
    assert_eq!(keys(&db).await, [4]);
}

#[tokio::test]
async fn sums_are_written_once_and_only_for_writes_that_are_kept() {
    let (_folder, db) = fresh();
    db.write(|tx| {
        tx.add("INSERT INTO t (k) VALUES (?1 + ?2 + ?3)", 100, 10, 1);
        tx.add("INSERT INTO t (k) VALUES (?1 + ?2 + ?3)", 100, 10, 4);
        Ok(())
    })
    .await
    .unwrap();

    assert_eq!(keys(&db).await, [115]);
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_not_an_answer_and_passes() {
    let (_folder, db) = fresh();
    insert(&db, 1).await.unwrap();
    let limit =
        |pages: &'static str| db.write(move |tx| tx.query_row(pages, [], |_| Ok(())).or_failed("test"));
    limit("PRAGMA max_page_count = 10").await.unwrap();

    let full = db
        .write(|tx| {
            tx.execute("INSERT INTO t (k, v) VALUES (2, zeroblob(1000000))", []).or_failed("test")?;
            Ok(())
        })
        .await;

    assert_eq!(full.unwrap_err().code(), "unavailable");
    assert_eq!(keys(&db).await, [1]);
    limit("PRAGMA max_page_count = 100000").await.unwrap();
    insert(&db, 3).await.unwrap();
    assert_eq!(keys(&db).await, [1, 3]);
}

#[tokio::test]
async fn a_read_sees_every_write_that_was_answered_before_it() {
    let (_folder, db) = fresh();
    for k in 0..200 {
        insert(&db, k).await.unwrap();
        let last: i64 = db
            .read(|c| c.query_row("SELECT max(k) FROM t", [], |row| row.get(0)).or_failed("test"))
            .await
            .unwrap();
        assert_eq!(last, k);
    }
}

#[tokio::test]
async fn a_dropped_write_happens_whole_or_not_at_all_and_stops_nothing() {
    let (_folder, db) = fresh();
    for k in 0..100 {
        let mut write = Box::pin(insert(&db, k));
        queue(write.as_mut()).await;
        drop(write);
    }
    insert(&db, 1000).await.unwrap();

    assert_eq!(keys(&db).await.len(), 101);
}

#[tokio::test]
async fn the_log_is_copied_and_started_anew_while_writes_go_on() {
    let (folder, db) = fresh();
    let mut longest = 0;
    // Each adds 50 pages to the log: three times what it may hold.
    for k in 0..480 {
        db.write(move |tx| {
            tx.execute("INSERT INTO t (k, v) VALUES (?1, zeroblob(200000))", [k]).or_failed("test")?;
            Ok(())
        })
        .await
        .unwrap();
        longest = longest.max(folder.path().join("t.db-wal").metadata().unwrap().len());
    }

    assert!(longest < 60 << 20, "the log grew to {longest} bytes");
    assert_eq!(keys(&db).await.len(), 480);
    drop(db);
    assert_eq!(keys(&open(folder.path(), MIGRATIONS).unwrap()).await.len(), 480);
}

#[tokio::test]
async fn closing_finishes_what_was_queued() {
    let (folder, db) = fresh();
    for k in 0..100 {
        let mut write = Box::pin(insert(&db, k));
        queue(write.as_mut()).await;
    }
    drop(db);

    assert_eq!(keys(&open(folder.path(), MIGRATIONS).unwrap()).await.len(), 100);
}

fn refusal(folder: &Path, migrations: &'static [&'static str]) -> String {
    let error = open(folder, migrations).unwrap_err();
    std::error::Error::source(&error).unwrap().to_string()
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    const LATER: &[&str] = &[MIGRATIONS[0], "CREATE TABLE later (k INTEGER);"];
    drop(open(folder.path(), LATER).unwrap());

    assert!(refusal(folder.path(), MIGRATIONS).contains("newer Mainstay"));
}

#[tokio::test]
async fn a_file_of_another_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = Connection::open(folder.path().join("t.db")).unwrap();
    theirs.execute_batch("PRAGMA user_version = 1; CREATE TABLE theirs (k INTEGER);").unwrap();
    drop(theirs);

    assert!(refusal(folder.path(), MIGRATIONS).contains("another program"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = "not a database, whatever its name says\n".repeat(100);
    std::fs::write(folder.path().join("t.db"), &text).unwrap();

    assert!(refusal(folder.path(), MIGRATIONS).contains("not a database"));
    assert_eq!(std::fs::read_to_string(folder.path().join("t.db")).unwrap(), text);
}

#[test]
fn the_library_is_new_enough() {
    assert!(rusqlite::version_number() >= SQLITE_VERSION_MIN);
}
