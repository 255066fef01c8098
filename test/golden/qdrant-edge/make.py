# Runs cases.json on Qdrant's own engine in process (PyPI `qdrant-edge-py` 0.9.0) and writes expected.json.
# Usage: pip install qdrant-edge-py==0.9.0 && python make.py
# The ids and scores it writes are what test/golden/qdrant-edge.test.ts wants of the wire-level fake.
import json
import pathlib
import tempfile

import qdrant_edge as q

HERE = pathlib.Path(__file__).parent
CASES = json.loads((HERE / "cases.json").read_text())
INDEXES = {"tenant": "Keyword", "kind": "Keyword", "document": "Keyword", "roles": "Keyword", "owner": "Keyword", "row": "Integer"}


def condition(one):
    if "key" not in one:
        return filter_of(one)
    match = one["match"]
    return q.FieldCondition(key=one["key"], match=q.MatchAny(match["any"]) if "any" in match else q.MatchValue(match["value"]))


def filter_of(one):
    return q.Filter(**{part: [condition(c) for c in one[part]] for part in ("must", "should", "must_not") if part in one})


def rows(points):
    return [{"id": str(p.id), "score": round(p.score, 5)} for p in points]


def ask(shard, query, using):
    vector = query["dense"] if using == "dense" else q.SparseVector(query["bm25"]["indices"], query["bm25"]["values"])
    if using == "bm25" and not query["bm25"]["indices"]:
        return []
    return rows(shard.query(q.QueryRequest(query=q.Query.Nearest(vector, using=using), filter=filter_of(query["filter"]), limit=query["limit"], params=q.SearchParams(exact=True))))


with tempfile.TemporaryDirectory() as path:
    config = q.EdgeConfig(vectors={"dense": q.EdgeVectorParams(size=CASES["dimensions"], distance=q.Distance.Cosine)}, sparse_vectors={"bm25": q.EdgeSparseVectorParams()})
    shard = q.EdgeShard.create(path, config)
    for name, kind in INDEXES.items():
        shard.update(q.UpdateOperation.create_field_index(name, getattr(q.PayloadSchemaType, kind)))
    points = [q.Point(p["id"], {"dense": p["vector"]["dense"], "bm25": q.SparseVector(p["vector"]["bm25"]["indices"], p["vector"]["bm25"]["values"])}, p["payload"]) for p in CASES["points"]]
    shard.update(q.UpdateOperation.upsert_points(points))
    before = [{using: ask(shard, query, using) for using in ("dense", "bm25")} for query in CASES["queries"]]
    shard.update(q.UpdateOperation.delete_points_by_filter(filter_of(CASES["erase"])))
    after = [{using: ask(shard, query, using) for using in ("dense", "bm25")} for query in CASES["queries"]]
    shard.close()

(HERE / "expected.json").write_text(json.dumps({"engine": "qdrant-edge-py 0.9.0", "before": before, "after": after}) + "\n")
