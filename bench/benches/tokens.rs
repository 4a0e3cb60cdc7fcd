//! Place tokens and active tokens: signing, verifying, and knowing one again.
#![forbid(unsafe_code)]

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    service::checked::CheckedActive,
    token::{
        active::{ActiveGrant, ActiveSigner, ActiveVerifier},
        keys::SigningKey,
        place::{PlaceClaims, PlaceKeys},
    },
};

const NOW: Millis = Millis(1_800_000_000_000);

fn place(criterion: &mut Criterion) {
    let keys = PlaceKeys::new(&[[7_u8; 32]]).expect("the secret is long enough");
    let claims = PlaceClaims {
        event: EventId::new("demo").expect("a valid id"),
        visitor: VisitorId::anonymous([9; 16]),
        seq: Seq(123_456),
        generation: Generation(u64::MAX / 3),
    };
    let token = keys.sign(&claims);
    let mut group = criterion.benchmark_group("place token");
    group.bench_function("sign", |bencher| bencher.iter(|| keys.sign(black_box(&claims))));
    group.bench_function("verify", |bencher| bencher.iter(|| keys.verify(black_box(&token))));
    group.finish();
    assert_eq!(keys.verify(&token), Ok(claims));
}

fn active(criterion: &mut Criterion) {
    let key = SigningKey::from_seed(&[3; 32]).expect("any seed makes a key");
    let signer = ActiveSigner::new("usher", "tickets", key);
    let verifier = Arc::new(ActiveVerifier::new("usher", "tickets", [signer.public()]));
    let grant = ActiveGrant {
        visitor: VisitorId::anonymous([9; 16]),
        event: EventId::new("demo").expect("a valid id"),
        jti: Jti { generation: Generation(u64::MAX / 3), seq: Seq(123_456) },
        issued_at: NOW,
        expires_at: NOW.plus(300_000),
    };
    let token = signer.sign(&grant);
    let mut group = criterion.benchmark_group("active token");
    group.bench_function("sign", |bencher| bencher.iter(|| signer.sign(black_box(&grant))));
    group.bench_function("verify", |bencher| bencher.iter(|| verifier.verify(black_box(&token), NOW)));
    let checked = CheckedActive::default();
    group.bench_function("verify again", |bencher| bencher.iter(|| checked.check(black_box(&token), &verifier, NOW)));
    group.finish();
    assert!(checked.check(&token, &verifier, NOW).is_some(), "the remembered token is a good one");
    assert!(verifier.verify(&token, NOW).is_ok(), "the verified token is a good one");
}

criterion_group!(benches, place, active);
criterion_main!(benches);
