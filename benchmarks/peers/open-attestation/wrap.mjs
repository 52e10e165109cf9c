// Wraps documents of 16 fields, two of them the issuer that its schema demands (a salt for each field, a Merkle tree over the batch) and prints the seconds as one JSON object.
import { createRequire } from "node:module";

const { wrapDocuments } = createRequire(import.meta.url)("@govtechsg/open-attestation");
const { documents: count, fields } = JSON.parse(process.argv[2]);

const issuers = [{ name: "发证机关", certificateStore: `0x${"00".repeat(20)}` }];
const documents = Array.from({ length: count }, (_, i) => ({
  issuers,
  ...Object.fromEntries(fields.slice(2).map((name, k) => [name, `值${k}-${i}`])),
}));
const begin = process.cpuUsage();
const wrapped = wrapDocuments(documents);
const { user, system } = process.cpuUsage(begin);
console.log(
  JSON.stringify({ cpu_s: (user + system) / 1e6, wrapped: wrapped.length, bytes: JSON.stringify(wrapped[0]).length }),
);
