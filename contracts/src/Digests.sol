// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { IComputeLedger } from "./interfaces/IComputeLedger.sol";

/// @title The tagged hashes of docs/protocol.md that the ledger computes: `H(name; w1, …) = keccak(keccak(tag) ‖ w1 ‖ …)`.
library Digests {
    bytes32 private constant TAG_KEYS = keccak256("shuyao/v1/keys");
    bytes32 private constant TAG_ROSTER = keccak256("shuyao/v1/roster");
    bytes32 private constant TAG_SESSION = keccak256("shuyao/v1/session");
    bytes32 private constant TAG_MESSAGE = keccak256("shuyao/v1/message");
    bytes32 private constant TAG_RECEIPT = keccak256("shuyao/v1/receipt");
    bytes32 private constant TAG_COMMITMENT = keccak256("shuyao/v1/commitment");
    bytes32 private constant TAG_SHARED = keccak256("shuyao/v1/shared");
    bytes32 private constant TAG_CONTRIBUTED = keccak256("shuyao/v1/contributed");
    bytes32 private constant TAG_MEMBER = keccak256("shuyao/v1/member");

    uint256 private constant KIND_MASKED_INPUT = 2;

    /// @notice What a holder's account is bound to at its approval (§3).
    function keysHash(bytes32 asset, uint32 version, IComputeLedger.SessionKeys calldata keys)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(
                TAG_KEYS,
                asset,
                version,
                keys.maskKey,
                keys.shareKey,
                keys.eX,
                keys.eParity,
                keys.noiseCommitment
            )
        );
    }

    /// @notice The roster's chain over the first members (§3).
    function rosterStep(bytes32 before, IComputeLedger.Member calldata m) internal pure returns (bytes32) {
        return keccak256(abi.encode(TAG_ROSTER, before, m.holder, m.line, m.keysHash));
    }

    /// @notice The session id, for this contract on this chain (§3).
    function session(bytes32 id, bytes32 planHash, uint256 n, bytes32 roster)
        internal
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(TAG_SESSION, block.chainid, address(this), id, planHash, n, roster));
    }

    /// @notice The hash of the frame that carried a masked input (§4, kind 2).
    function maskedInput(bytes32 sessionId, uint16 sender, bytes32 payloadHash)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(TAG_MESSAGE, KIND_MASKED_INPUT, sessionId, sender, payloadHash));
    }

    /// @notice What a broker signs for a message that it accepted (§4).
    function receipt(bytes32 id, address holder, bytes32 messageHash) internal pure returns (bytes32) {
        return keccak256(abi.encode(TAG_RECEIPT, id, holder, messageHash));
    }

    /// @notice What fixes a commitment before it is shown (§5).
    function commitment(bytes32 id, address holder, bytes calldata point) internal pure returns (bytes32) {
        return keccak256(abi.encode(TAG_COMMITMENT, id, holder, keccak256(point)));
    }

    /// @notice `detail` of a member that shared.
    function shared(bytes32 bundleHash, bytes32 seedHash, bytes32 commitmentHash)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(TAG_SHARED, bundleHash, seedHash, commitmentHash));
    }

    /// @notice `detail` of a member that contributed.
    function contributed(bytes32 commitmentHash, bytes32 inputHash) internal pure returns (bytes32) {
        return keccak256(abi.encode(TAG_CONTRIBUTED, commitmentHash, inputHash));
    }

    /// @notice A member's slot: the stage in the top byte, then the low 248 bits of the hash.
    function member(uint8 stage, bytes32 line, bytes32 keys, bytes32 detail) internal pure returns (bytes32) {
        bytes32 hash = keccak256(abi.encode(TAG_MEMBER, stage, line, keys, detail));
        return bytes32(uint256(stage) << 248 | uint256(hash) << 8 >> 8);
    }

    /// @notice The stage in a member's slot.
    function stageOf(bytes32 slot) internal pure returns (uint8) {
        return uint8(uint256(slot) >> 248);
    }
}
