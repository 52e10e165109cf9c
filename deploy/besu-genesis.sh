#!/bin/sh
# Makes a QBFT genesis with four validators, and each one's key in its own volume, once, with Besu's own generator.
set -eu
network=/network
[ -f "$network/genesis.json" ] && exit 0
rm -rf /tmp/generated # of a run that was cut off
besu operator generate-blockchain-config --config-file=/deploy/qbft.json --to=/tmp/generated --private-key-file-name=key
number=1
peers=""
for folder in /tmp/generated/keys/*; do
  (umask 077 && cp "$folder/key" "/validators/$number/key")
  chown 1000:1000 "/validators/$number" "/validators/$number/key" # Besu's own account writes there
  public=$(sed 's/^0x//' "$folder/key.pub")
  peers="$peers${peers:+,}\"enode://$public@172.30.0.1$number:30303\""
  number=$((number + 1))
done
echo "[$peers]" >"$network/static-nodes.json"
rm -r /tmp/generated/keys
cp /tmp/generated/genesis.json "$network/genesis.json.new"
mv "$network/genesis.json.new" "$network/genesis.json" # last: with it all is there
chmod -R a+rX "$network"
