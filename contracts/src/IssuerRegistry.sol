// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { IIssuerRegistry } from "./interfaces/IIssuerRegistry.sol";

/// @title IssuerRegistry
/// @dev The `restricted` functions are the registrar's, by the AccessManager. A key id belongs to the first bound issuer that
/// registers it. One bound issuer could take an id from another's pending transaction: that names the culprit for ever, gives it no
/// key to sign with, and costs the other a fresh key pair.
contract IssuerRegistry is IIssuerRegistry, AccessManaged {
    uint8 private constant ACTIVE = 1;
    uint8 private constant RETIRED = 2;
    uint8 private constant COMPROMISED = 3;

    mapping(bytes32 issuer => mapping(bytes32 licenceType => mapping(bytes32 city => bool))) private
        _recognised;
    mapping(bytes32 issuer => address) private _accounts;
    mapping(address account => bytes32) private _issuers;
    mapping(bytes32 keyId => Key) private _keys;

    constructor(address manager) AccessManaged(manager) { }

    /// @inheritdoc IIssuerRegistry
    function recognise(bytes32 issuer, bytes32 licenceType, bytes32 city) external restricted {
        if (issuer == 0 || licenceType == 0 || city == 0) revert IssuerRegistryIdZero();
        if (_recognised[issuer][licenceType][city]) {
            revert IssuerRegistryRecognised(issuer, licenceType, city);
        }
        _recognised[issuer][licenceType][city] = true;
        emit IssuerRecognised(issuer, licenceType, city);
    }

    /// @inheritdoc IIssuerRegistry
    function withdraw(bytes32 issuer, bytes32 licenceType, bytes32 city) external restricted {
        if (!_recognised[issuer][licenceType][city]) {
            revert IssuerRegistryNotRecognised(issuer, licenceType, city);
        }
        delete _recognised[issuer][licenceType][city];
        emit RecognitionWithdrawn(issuer, licenceType, city);
    }

    /// @inheritdoc IIssuerRegistry
    function bindIssuer(bytes32 issuer, address account) external restricted {
        if (issuer == 0) revert IssuerRegistryIdZero();
        if (account == address(0)) revert IssuerRegistryAddressZero();
        if (_issuers[account] != 0) revert IssuerRegistryAccountTaken(account, _issuers[account]);
        delete _issuers[_accounts[issuer]];
        _accounts[issuer] = account;
        _issuers[account] = issuer;
        emit IssuerBound(issuer, account);
    }

    /// @inheritdoc IIssuerRegistry
    function registerKey(bytes32 issuer, bytes32 keyId) external {
        _requireIssuer(issuer);
        if (keyId == 0) revert IssuerRegistryIdZero();
        if (_keys[keyId].issuer != 0) revert IssuerRegistryKeyTaken(keyId, _keys[keyId].issuer);
        _keys[keyId] = Key({ issuer: issuer, status: ACTIVE, since: uint64(block.timestamp), until: 0 });
        emit KeyRegistered(issuer, keyId);
    }

    /// @inheritdoc IIssuerRegistry
    function retireKey(bytes32 issuer, bytes32 keyId) external {
        _requireIssuer(issuer);
        Key storage record = _keyOf(issuer, keyId);
        if (record.status != ACTIVE) revert IssuerRegistryKeyStatus(keyId, record.status);
        record.status = RETIRED;
        record.until = uint64(block.timestamp);
        emit KeyRetired(issuer, keyId);
    }

    /// @inheritdoc IIssuerRegistry
    function compromiseKey(bytes32 issuer, bytes32 keyId) external {
        _requireIssuer(issuer);
        _compromise(issuer, keyId);
    }

    /// @inheritdoc IIssuerRegistry
    function revokeKey(bytes32 issuer, bytes32 keyId) external restricted {
        _compromise(issuer, keyId);
    }

    /// @inheritdoc IIssuerRegistry
    function isRecognised(bytes32 issuer, bytes32 licenceType, bytes32 city) external view returns (bool) {
        return _recognised[issuer][licenceType][city];
    }

    /// @inheritdoc IIssuerRegistry
    function accountOf(bytes32 issuer) external view returns (address) {
        return _accounts[issuer];
    }

    /// @inheritdoc IIssuerRegistry
    function issuerOf(address account) external view returns (bytes32) {
        return _issuers[account];
    }

    /// @inheritdoc IIssuerRegistry
    function key(bytes32 keyId) external view returns (Key memory) {
        return _keys[keyId];
    }

    /// @dev A retired key's `until` stays: it is when it stopped signing.
    function _compromise(bytes32 issuer, bytes32 keyId) private {
        Key storage record = _keyOf(issuer, keyId);
        uint8 status = record.status;
        if (status == COMPROMISED) revert IssuerRegistryKeyStatus(keyId, status);
        record.status = COMPROMISED;
        if (status == ACTIVE) record.until = uint64(block.timestamp);
        emit KeyCompromised(issuer, keyId);
    }

    function _requireIssuer(bytes32 issuer) private view {
        if (issuer == 0 || _issuers[msg.sender] != issuer) {
            revert IssuerRegistryNotIssuer(msg.sender, issuer);
        }
    }

    function _keyOf(bytes32 issuer, bytes32 keyId) private view returns (Key storage record) {
        record = _keys[keyId];
        if (record.issuer == 0) revert IssuerRegistryKeyStatus(keyId, 0);
        if (record.issuer != issuer) revert IssuerRegistryKeyTaken(keyId, record.issuer);
    }
}
