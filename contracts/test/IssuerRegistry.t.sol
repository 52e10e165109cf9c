// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { IssuerRegistry } from "../src/IssuerRegistry.sol";
import { IIssuerRegistry } from "../src/interfaces/IIssuerRegistry.sol";
import { Clock } from "./LogAnchorFixture.t.sol";
import { Test } from "./Test.sol";

contract IssuerRegistryTest is Test {
    uint64 private constant REGISTRAR_ROLE = 1;
    bytes32 private constant BUREAU = keccak256("market supervision bureau");
    bytes32 private constant POLICE = keccak256("public security bureau");
    bytes32 private constant BUSINESS = keccak256("business licence");
    bytes32 private constant FOOD = keccak256("food licence");
    bytes32 private constant HANGZHOU = keccak256("Hangzhou");
    bytes32 private constant NINGBO = keccak256("Ningbo");
    bytes32 private constant KEY = keccak256("key");
    uint8 private constant ACTIVE = 1;
    uint8 private constant RETIRED = 2;
    uint8 private constant COMPROMISED = 3;

    Clock private constant clock = Clock(address(uint160(uint256(keccak256("hevm cheat code")))));
    address private immutable registrar = address(0x3001);
    address private immutable bureau = address(0x3002);
    address private immutable police = address(0x3003);
    address private immutable stranger = address(0x3004);

    IssuerRegistry private registry;

    event IssuerRecognised(bytes32 indexed issuer, bytes32 indexed licenceType, bytes32 indexed city);
    event RecognitionWithdrawn(bytes32 indexed issuer, bytes32 indexed licenceType, bytes32 indexed city);
    event IssuerBound(bytes32 indexed issuer, address indexed account);
    event KeyRegistered(bytes32 indexed issuer, bytes32 indexed keyId);
    event KeyRetired(bytes32 indexed issuer, bytes32 indexed keyId);
    event KeyCompromised(bytes32 indexed issuer, bytes32 indexed keyId);

    function setUp() public {
        clock.warp(1000);
        AccessManager manager = new AccessManager(address(this));
        registry = new IssuerRegistry(address(manager));
        bytes4[] memory selectors = new bytes4[](6);
        selectors[0] = IssuerRegistry.recognise.selector;
        selectors[1] = IssuerRegistry.withdraw.selector;
        selectors[2] = IssuerRegistry.bindIssuer.selector;
        selectors[3] = IssuerRegistry.revokeKey.selector;
        selectors[4] = IssuerRegistry.registerKeyFor.selector;
        selectors[5] = IssuerRegistry.retireKeyFor.selector;
        manager.setTargetFunctionRole(address(registry), selectors, REGISTRAR_ROLE);
        manager.grantRole(REGISTRAR_ROLE, registrar, 0);
        _bind(BUREAU, bureau);
        _bind(POLICE, police);
    }

    function _bind(bytes32 issuer, address account) private {
        vm.prank(registrar);
        registry.bindIssuer(issuer, account);
    }

    function _register(address sender, bytes32 issuer, bytes32 keyId) private {
        vm.prank(sender);
        registry.registerKey(issuer, keyId);
    }

    function _requireKey(uint8 status, uint64 since, uint64 until) private view {
        IIssuerRegistry.Key memory key = registry.key(BUREAU, KEY);
        assertEq(key.status, status, "status");
        assertEq(key.since, since, "since");
        assertEq(key.until, until, "until");
    }

    function _expect(bytes4 selector, bytes32 a, bytes32 b) private {
        vm.expectRevert(abi.encodeWithSelector(selector, a, b));
    }

    function _expectStatus(bytes32 keyId, uint8 status) private {
        vm.expectRevert(
            abi.encodeWithSelector(IIssuerRegistry.IssuerRegistryKeyStatus.selector, keyId, status)
        );
    }

    function _expectNotIssuer(address caller, bytes32 issuer) private {
        vm.expectRevert(
            abi.encodeWithSelector(IIssuerRegistry.IssuerRegistryNotIssuer.selector, caller, issuer)
        );
    }

    function _expectUnauthorized(address caller) private {
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller));
    }

    // ---------------------------------------------------------------- recognition

    function test_recognition_is_for_one_issuer_one_type_and_one_city() public {
        vm.expectEmit(true, true, true, true, address(registry));
        emit IssuerRecognised(BUREAU, BUSINESS, HANGZHOU);
        vm.prank(registrar);
        registry.recognise(BUREAU, BUSINESS, HANGZHOU);
        assertTrue(registry.isRecognised(BUREAU, BUSINESS, HANGZHOU), "recognised");
        assertTrue(!registry.isRecognised(POLICE, BUSINESS, HANGZHOU), "another issuer");
        assertTrue(!registry.isRecognised(BUREAU, FOOD, HANGZHOU), "another type");
        assertTrue(!registry.isRecognised(BUREAU, BUSINESS, NINGBO), "another city");
    }

    function test_withdrawn_recognition_can_be_given_again() public {
        vm.prank(registrar);
        registry.recognise(BUREAU, BUSINESS, HANGZHOU);
        vm.expectEmit(true, true, true, true, address(registry));
        emit RecognitionWithdrawn(BUREAU, BUSINESS, HANGZHOU);
        vm.prank(registrar);
        registry.withdraw(BUREAU, BUSINESS, HANGZHOU);
        assertTrue(!registry.isRecognised(BUREAU, BUSINESS, HANGZHOU), "withdrawn");
        vm.prank(registrar);
        registry.recognise(BUREAU, BUSINESS, HANGZHOU);
        assertTrue(registry.isRecognised(BUREAU, BUSINESS, HANGZHOU), "recognised");
    }

    function test_recognition_that_is_there_and_withdrawal_of_none_are_refused() public {
        bytes memory arguments = abi.encode(BUREAU, BUSINESS, HANGZHOU);
        vm.expectRevert(abi.encodePacked(IIssuerRegistry.IssuerRegistryNotRecognised.selector, arguments));
        vm.prank(registrar);
        registry.withdraw(BUREAU, BUSINESS, HANGZHOU);
        vm.prank(registrar);
        registry.recognise(BUREAU, BUSINESS, HANGZHOU);
        vm.expectRevert(abi.encodePacked(IIssuerRegistry.IssuerRegistryRecognised.selector, arguments));
        vm.prank(registrar);
        registry.recognise(BUREAU, BUSINESS, HANGZHOU);
    }

    function test_recognition_without_issuer_type_or_city_is_refused() public {
        bytes32[3] memory ids = [BUREAU, BUSINESS, HANGZHOU];
        for (uint256 i = 0; i < 3; ++i) {
            bytes32[3] memory given = ids;
            given[i] = 0;
            vm.expectRevert(IIssuerRegistry.IssuerRegistryIdZero.selector);
            vm.prank(registrar);
            registry.recognise(given[0], given[1], given[2]);
        }
    }

    // ---------------------------------------------------------------- accounts

    function test_registrar_binds_an_issuer_to_another_account_which_ends_the_former() public {
        vm.expectEmit(true, true, true, true, address(registry));
        emit IssuerBound(BUREAU, stranger);
        _bind(BUREAU, stranger);
        assertEq(registry.accountOf(BUREAU), stranger, "account");
        assertEq(registry.issuerOf(stranger), BUREAU, "issuer");
        assertEq(registry.issuerOf(bureau), bytes32(0), "former account");
        _expectNotIssuer(bureau, BUREAU);
        _register(bureau, BUREAU, KEY);
        _register(stranger, BUREAU, KEY);
    }

    function test_account_acts_for_one_issuer_only() public {
        vm.expectRevert(
            abi.encodeWithSelector(IIssuerRegistry.IssuerRegistryAccountTaken.selector, police, POLICE)
        );
        _bind(BUREAU, police);
        vm.expectRevert(
            abi.encodeWithSelector(IIssuerRegistry.IssuerRegistryAccountTaken.selector, bureau, BUREAU)
        );
        _bind(BUREAU, bureau);
    }

    function test_binding_nothing_is_refused() public {
        vm.expectRevert(IIssuerRegistry.IssuerRegistryIdZero.selector);
        _bind(0, stranger);
        vm.expectRevert(IIssuerRegistry.IssuerRegistryAddressZero.selector);
        _bind(BUREAU, address(0));
    }

    function test_only_the_registrar_recognises_withdraws_binds_and_acts_for_issuers() public {
        address[3] memory others = [bureau, stranger, address(this)];
        for (uint256 i = 0; i < 3; ++i) {
            _expectUnauthorized(others[i]);
            vm.prank(others[i]);
            registry.recognise(BUREAU, BUSINESS, HANGZHOU);
            _expectUnauthorized(others[i]);
            vm.prank(others[i]);
            registry.withdraw(BUREAU, BUSINESS, HANGZHOU);
            _expectUnauthorized(others[i]);
            vm.prank(others[i]);
            registry.bindIssuer(BUREAU, others[i]);
            _expectUnauthorized(others[i]);
            vm.prank(others[i]);
            registry.revokeKey(BUREAU, KEY);
            _expectUnauthorized(others[i]);
            vm.prank(others[i]);
            registry.registerKeyFor(BUREAU, KEY);
            _expectUnauthorized(others[i]);
            vm.prank(others[i]);
            registry.retireKeyFor(BUREAU, KEY);
        }
    }

    // ---------------------------------------------------------------- keys

    function test_issuer_registers_and_retires_its_key() public {
        vm.expectEmit(true, true, true, true, address(registry));
        emit KeyRegistered(BUREAU, KEY);
        _register(bureau, BUREAU, KEY);
        _requireKey(ACTIVE, 1000, 0);
        clock.warp(2000);
        vm.expectEmit(true, true, true, true, address(registry));
        emit KeyRetired(BUREAU, KEY);
        vm.prank(bureau);
        registry.retireKey(BUREAU, KEY);
        _requireKey(RETIRED, 1000, 2000);
    }

    function test_active_key_is_compromised_at_once() public {
        _register(bureau, BUREAU, KEY);
        clock.warp(3000);
        vm.expectEmit(true, true, true, true, address(registry));
        emit KeyCompromised(BUREAU, KEY);
        vm.prank(bureau);
        registry.compromiseKey(BUREAU, KEY);
        _requireKey(COMPROMISED, 1000, 3000);
    }

    function test_retired_key_that_is_compromised_keeps_the_time_of_its_end() public {
        _register(bureau, BUREAU, KEY);
        clock.warp(2000);
        vm.prank(bureau);
        registry.retireKey(BUREAU, KEY);
        clock.warp(3000);
        vm.prank(bureau);
        registry.compromiseKey(BUREAU, KEY);
        _requireKey(COMPROMISED, 1000, 2000);
    }

    function test_registrar_revokes_the_key_of_an_issuer_that_lost_its_account() public {
        _register(bureau, BUREAU, KEY);
        vm.expectEmit(true, true, true, true, address(registry));
        emit KeyCompromised(BUREAU, KEY);
        vm.prank(registrar);
        registry.revokeKey(BUREAU, KEY);
        assertEq(registry.key(BUREAU, KEY).status, COMPROMISED, "status");
    }

    function test_no_state_of_a_key_is_left_backwards() public {
        _register(bureau, BUREAU, KEY);
        vm.prank(bureau);
        registry.retireKey(BUREAU, KEY);
        _expectStatus(KEY, RETIRED);
        vm.prank(bureau);
        registry.retireKey(BUREAU, KEY);
        vm.prank(bureau);
        registry.compromiseKey(BUREAU, KEY);
        _expectStatus(KEY, COMPROMISED);
        vm.prank(bureau);
        registry.compromiseKey(BUREAU, KEY);
        _expectStatus(KEY, COMPROMISED);
        vm.prank(bureau);
        registry.retireKey(BUREAU, KEY);
        _expect(IIssuerRegistry.IssuerRegistryKeyTaken.selector, KEY, BUREAU);
        _register(bureau, BUREAU, KEY);
    }

    function test_registrar_registers_and_retires_keys_of_an_issuer_without_an_account() public {
        bytes32 issuer = keccak256("an office without an account");
        vm.expectEmit(true, true, true, true, address(registry));
        emit KeyRegistered(issuer, KEY);
        vm.prank(registrar);
        registry.registerKeyFor(issuer, KEY);
        assertEq(registry.key(issuer, KEY).status, ACTIVE, "active");
        _expect(IIssuerRegistry.IssuerRegistryKeyTaken.selector, KEY, issuer);
        vm.prank(registrar);
        registry.registerKeyFor(issuer, KEY);
        vm.expectEmit(true, true, true, true, address(registry));
        emit KeyRetired(issuer, KEY);
        vm.prank(registrar);
        registry.retireKeyFor(issuer, KEY);
        assertEq(registry.key(issuer, KEY).status, RETIRED, "retired");
        _expectStatus(KEY, RETIRED);
        vm.prank(registrar);
        registry.retireKeyFor(issuer, KEY);
    }

    function test_issuer_registers_a_key_once_whatever_became_of_it() public {
        _register(bureau, BUREAU, KEY);
        vm.prank(bureau);
        registry.compromiseKey(BUREAU, KEY);
        _expect(IIssuerRegistry.IssuerRegistryKeyTaken.selector, KEY, BUREAU);
        _register(bureau, BUREAU, KEY);
        _expect(IIssuerRegistry.IssuerRegistryKeyTaken.selector, KEY, BUREAU);
        vm.prank(registrar);
        registry.registerKeyFor(BUREAU, KEY);
    }

    function test_unknown_and_zero_keys_are_refused() public {
        vm.expectRevert(IIssuerRegistry.IssuerRegistryIdZero.selector);
        _register(bureau, BUREAU, 0);
        _expectStatus(KEY, 0);
        vm.prank(bureau);
        registry.retireKey(BUREAU, KEY);
        _expectStatus(KEY, 0);
        vm.prank(registrar);
        registry.revokeKey(BUREAU, KEY);
        vm.expectRevert(IIssuerRegistry.IssuerRegistryIdZero.selector);
        vm.prank(registrar);
        registry.registerKeyFor(BUREAU, 0);
        vm.expectRevert(IIssuerRegistry.IssuerRegistryIdZero.selector);
        vm.prank(registrar);
        registry.registerKeyFor(0, KEY);
    }

    // ---------------------------------------------------------------- who comes first

    /// @dev A stranger sees the pending claim and sends it first: refused, and the claim itself goes through.
    function testFuzz_claim_seen_pending_and_sent_first_by_another_is_refused(address thief, bytes32 keyId)
        public
    {
        vm.assume(thief != bureau && keyId != 0);
        _expectNotIssuer(thief, BUREAU);
        _register(thief, BUREAU, keyId);
        _expectUnauthorized(thief == registrar ? stranger : thief);
        vm.prank(thief == registrar ? stranger : thief);
        registry.bindIssuer(BUREAU, thief);
        _register(bureau, BUREAU, keyId);
        assertEq(registry.key(BUREAU, keyId).status, ACTIVE, "status");
    }

    /// @dev Another issuer, lawfully bound, claims the id first and ends it at once: the true claim is as if that had not been.
    function testFuzz_claim_of_the_same_id_by_another_issuer_neither_blocks_nor_ends_the_true_one(bytes32 keyId)
        public
    {
        vm.assume(keyId != 0);
        _register(police, POLICE, keyId);
        vm.prank(police);
        registry.compromiseKey(POLICE, keyId);
        clock.warp(2000);
        _register(bureau, BUREAU, keyId);
        assertEq(registry.key(BUREAU, keyId).status, ACTIVE, "the true one");
        assertEq(registry.key(BUREAU, keyId).since, 2000, "its time");
        assertEq(registry.key(POLICE, keyId).status, COMPROMISED, "the other");
        _expectNotIssuer(police, BUREAU);
        vm.prank(police);
        registry.compromiseKey(BUREAU, keyId);
    }

    function test_account_of_no_issuer_cannot_act_for_the_zero_issuer() public {
        _expectNotIssuer(stranger, 0);
        _register(stranger, 0, KEY);
    }
}
