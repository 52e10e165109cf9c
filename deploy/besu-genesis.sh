#!/bin/sh
# Makes a QBFT genesis with four validators and their keys, once, with Besu's own generator.
set -eu
network=/network
[ -f "$network/genesis.json" ] && exit 0
besu operator generate-blockchain-config --config-file=/deploy/qbft.json --to=/tmp/generated --private-key-file-name=key
number=1
peers=""
for folder in /tmp/generated/keys/*; do
  mkdir -p "$network/validator-$number"
  cp "$folder/key" "$network/validator-$number/key"
  public=$(sed 's/^0x//' "$folder/key.pub")
  peers="$peers${peers:+,}\"enode://$public@172.30.0.1$number:30303\""
  number=$((number + 1))
done
echo "[$peers]" >"$network/static-nodes.json"
cp /tmp/generated/genesis.json "$network/genesis.json"
chown -R 1000:1000 "$network" 2>/dev/null || true
