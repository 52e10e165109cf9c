// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { IAssetRegistry } from "./interfaces/IAssetRegistry.sol";
import { IParticipants } from "./interfaces/IParticipants.sol";
import { Roles } from "./Roles.sol";

/// @title AssetRegistry
contract AssetRegistry is IAssetRegistry {
    bytes32 private constant TAG_ASSET = keccak256("shuyao/v1/asset");
    bytes32 private constant TAG_LINE = keccak256("shuyao/v1/line");

    uint8 private constant REGISTERED = 5;
    uint8 private constant RETIRED = 6;
    uint8 private constant GENERAL = 1;
    uint8 private constant CORE = 3;

    IParticipants public immutable participants;

    mapping(bytes32 id => Asset) private _assets;
    mapping(bytes32 listing => mapping(bytes32 asset => address broker)) private _entrusted;

    constructor(IParticipants participants_) {
        participants = participants_;
    }

    /// @inheritdoc IAssetRegistry
    function register(
        bytes32 nameHash,
        bytes32 keySpaceHash,
        bytes32 policyHash,
        bytes32 snapshotRoot,
        bytes32 descriptorHash,
        uint8 grade
    ) external returns (bytes32 asset) {
        participants.requireActive(msg.sender, Roles.HOLDER);
        _requireGrade(grade);
        asset = keccak256(abi.encode(TAG_ASSET, msg.sender, nameHash));
        if (_assets[asset].status != 0) revert AssetRegistryExists(asset);
        bytes32 line = lineId(msg.sender, keySpaceHash);
        _assets[asset] = Asset({
            holder: msg.sender,
            version: 1,
            grade: grade,
            status: REGISTERED,
            line: line,
            policyHash: policyHash,
            snapshotRoot: snapshotRoot,
            descriptorHash: descriptorHash
        });
        emit AssetRegistered(
            asset, msg.sender, nameHash, keySpaceHash, line, policyHash, snapshotRoot, descriptorHash, grade
        );
    }

    /// @inheritdoc IAssetRegistry
    function update(
        bytes32 asset,
        bytes32 policyHash,
        bytes32 snapshotRoot,
        bytes32 descriptorHash,
        uint8 grade
    ) external {
        Asset storage record = _requireOwn(asset);
        _requireGrade(grade);
        uint32 version = record.version + 1;
        record.version = version;
        record.grade = grade;
        record.policyHash = policyHash;
        record.snapshotRoot = snapshotRoot;
        record.descriptorHash = descriptorHash;
        emit AssetUpdated(asset, version, policyHash, snapshotRoot, descriptorHash, grade);
    }

    /// @inheritdoc IAssetRegistry
    function retire(bytes32 asset) external {
        _requireOwn(asset).status = RETIRED;
        emit AssetRetired(asset);
    }

    /// @inheritdoc IAssetRegistry
    function adopt(bytes32 asset) external {
        participants.requireActive(msg.sender, Roles.HOLDER);
        address from = _assets[asset].holder;
        if (from == address(0) || !participants.hasSucceeded(msg.sender, from)) {
            revert AssetRegistryNotSuccessor(asset, msg.sender);
        }
        _assets[asset].holder = msg.sender;
        emit AssetAdopted(asset, from, msg.sender);
    }

    /// @inheritdoc IAssetRegistry
    function entrust(bytes32 asset, bytes32 listing, address broker) external {
        Asset storage record = _requireOwn(asset);
        if (record.grade == CORE) revert AssetRegistryGradeCore(asset);
        participants.requireActive(broker, Roles.BROKER);
        _entrusted[listing][asset] = broker;
        emit Entrusted(asset, listing, broker);
    }

    /// @inheritdoc IAssetRegistry
    function withdraw(bytes32 asset, bytes32 listing) external {
        if (_assets[asset].holder != msg.sender) revert AssetRegistryNotHolder(asset, msg.sender);
        address broker = _entrusted[listing][asset];
        if (broker == address(0)) revert AssetRegistryNotEntrusted(asset, listing, broker);
        delete _entrusted[listing][asset];
        emit EntrustmentWithdrawn(asset, listing);
    }

    /// @inheritdoc IAssetRegistry
    function get(bytes32 asset) external view returns (Asset memory) {
        return _assets[asset];
    }

    /// @inheritdoc IAssetRegistry
    function entrustedTo(bytes32 listing, bytes32 asset) external view returns (address broker) {
        return _entrusted[listing][asset];
    }

    /// @inheritdoc IAssetRegistry
    function requireEntrusted(bytes32 asset, bytes32 listing, address holder, address broker)
        external
        view
        returns (uint32 version, bytes32 line)
    {
        Asset storage record = _assets[asset];
        address owner;
        uint8 grade;
        uint8 status;
        (owner, version, grade, status) = (record.holder, record.version, record.grade, record.status);
        if (owner != holder) revert AssetRegistryNotHolder(asset, holder);
        if (status != REGISTERED) revert AssetRegistryInactive(asset, status);
        if (grade == CORE) revert AssetRegistryGradeCore(asset);
        if (_entrusted[listing][asset] != broker) revert AssetRegistryNotEntrusted(asset, listing, broker);
        line = record.line;
    }

    /// @inheritdoc IAssetRegistry
    function lineId(address holder, bytes32 keySpaceHash) public view returns (bytes32) {
        return keccak256(abi.encode(TAG_LINE, participants.rootOf(holder), keySpaceHash));
    }

    /// @dev The caller's own registered asset; the caller must still be an active holder.
    function _requireOwn(bytes32 asset) private view returns (Asset storage record) {
        participants.requireActive(msg.sender, Roles.HOLDER);
        record = _assets[asset];
        if (record.holder != msg.sender) revert AssetRegistryNotHolder(asset, msg.sender);
        if (record.status != REGISTERED) revert AssetRegistryInactive(asset, record.status);
    }

    function _requireGrade(uint8 grade) private pure {
        if (grade < GENERAL || grade > CORE) revert AssetRegistryGradeUnknown(grade);
    }
}
