// Builds trees over the same leaves with two libraries and prints their seconds and roots as one JSON object.
import { SimpleMerkleTree, StandardMerkleTree } from "@openzeppelin/merkle-tree";
import { createHash } from "node:crypto";
import { MerkleTree } from "merkletreejs";

const { leaves: count } = JSON.parse(process.argv[2]);
const sha256 = (data) => createHash("sha256").update(data).digest();
const leaves = Array.from({ length: count }, (_, i) => sha256(Buffer.from(String(i))));

function timed(work) {
  const begin = process.cpuUsage();
  const value = work();
  const { user, system } = process.cpuUsage(begin);
  return { cpu_s: (user + system) / 1e6, value };
}

const hex = leaves.map((leaf) => `0x${leaf.toString("hex")}`);
const javascript = timed(() => new MerkleTree(leaves, sha256).getHexRoot());
const simple = timed(() => SimpleMerkleTree.of(hex).root);
const standard = timed(() => StandardMerkleTree.of(hex.map((leaf) => [leaf]), ["bytes32"]).root);
console.log(
  JSON.stringify({
    merkletreejs_s: javascript.cpu_s,
    openzeppelin_simple_s: simple.cpu_s,
    openzeppelin_standard_s: standard.cpu_s,
    merkletreejs_root: javascript.value,
  }),
);
