// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import { AssetRegistry } from "../src/AssetRegistry.sol";
import { ComputeLedger } from "../src/ComputeLedger.sol";
import { Participants } from "../src/Participants.sol";
import { Settlement } from "../src/Settlement.sol";
import { IComputeLedger } from "../src/interfaces/IComputeLedger.sol";
import { Roles } from "../src/Roles.sol";
import { Test } from "./Test.sol";

/// @title A deployed market with a registrar, a regulator, a bank, a broker, a buyer and eight holders with entrusted assets, and one
/// honest step of a request per function. Hashes are written out here from docs/protocol.md, not taken from the contracts.
abstract contract Fixture is Test {
    uint64 internal constant REGISTRAR_ROLE = 1;
    uint64 internal constant REGULATOR_ROLE = 2;
    uint64 internal constant BANK_ROLE = 3;

    uint64 internal constant WINDOW = 20;
    uint64 internal constant BUDGET = 1_000_000;
    uint64 internal constant RHO = 50_000;
    uint128 internal constant PRICE = 10_007;
    uint256 internal constant FUNDS = 10_000_000;
    uint256 internal constant HOLDERS = 8;

    uint256 internal constant BUYER_KEY = 0xB0;
    uint256 internal constant BROKER_KEY = 0xBB;

    address internal immutable registrar = address(0x1001);
    address internal immutable regulator = address(0x1002);
    address internal immutable bank = address(0x1003);
    address internal immutable platform = address(0x1004);
    address internal immutable stranger = address(0x1005);
    address internal immutable buyer = vm.addr(BUYER_KEY);
    address internal immutable broker = vm.addr(BROKER_KEY);

    bytes32 internal constant KEY_SPACE = keccak256("persons");
    bytes32 internal constant NAME = keccak256("electricity");

    AccessManager internal manager;
    Participants internal participants;
    AssetRegistry internal assets;
    Settlement internal settlement;
    ComputeLedger internal ledger;

    /// @dev Ascending.
    address[] internal holders;
    bytes32 internal listing;
    uint256 internal nextNonce;
    mapping(address holder => bytes) private _commitments;

    function deploy() internal {
        vm.roll(100);
        manager = new AccessManager(address(this));
        participants = new Participants(address(manager));
        assets = new AssetRegistry(participants);
        address ledgerAt = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        settlement = new Settlement(address(manager), participants, ledgerAt, platform, 200, 800);
        ledger = new ComputeLedger(participants, assets, settlement, WINDOW);
        _grant();
        listing = h("listing", word(broker), NAME);
        _admitAll();
        vm.roll(101);
    }

    function _grant() private {
        bytes4[] memory selectors = new bytes4[](3);
        selectors[0] = Participants.admit.selector;
        selectors[1] = Participants.setRoles.selector;
        selectors[2] = Participants.replaceAccount.selector;
        manager.setTargetFunctionRole(address(participants), selectors, REGISTRAR_ROLE);
        selectors = new bytes4[](2);
        selectors[0] = Participants.suspend.selector;
        selectors[1] = Participants.lift.selector;
        manager.setTargetFunctionRole(address(participants), selectors, REGULATOR_ROLE);
        selectors[0] = Settlement.mint.selector;
        selectors[1] = Settlement.burn.selector;
        manager.setTargetFunctionRole(address(settlement), selectors, BANK_ROLE);
        manager.grantRole(REGISTRAR_ROLE, registrar, 0);
        manager.grantRole(REGULATOR_ROLE, regulator, 0);
        manager.grantRole(BANK_ROLE, bank, 0);
    }

    function _admitAll() private {
        admit(buyer, operatorOf(buyer), Roles.BUYER);
        admit(broker, operatorOf(broker), Roles.BROKER);
        for (uint256 i = 0; i < HOLDERS; ++i) {
            _insert(vm.addr(0xA000 + i));
        }
        for (uint256 i = 0; i < HOLDERS; ++i) {
            admit(holders[i], operatorOf(holders[i]), Roles.HOLDER);
            _commitments[holders[i]] = multiple(uint160(holders[i]));
            bytes32 asset = registerAsset(holders[i], NAME, 1);
            vm.prank(holders[i]);
            ledger.openLine(KEY_SPACE, BUDGET);
            vm.prank(holders[i]);
            assets.entrust(asset, listing, broker);
        }
        vm.prank(bank);
        settlement.mint(buyer, FUNDS);
        vm.prank(bank);
        settlement.mint(broker, FUNDS);
        vm.prank(broker);
        settlement.postBond(FUNDS);
    }

    function _insert(address holder) private {
        holders.push(holder);
        for (uint256 i = holders.length - 1; i > 0 && holders[i - 1] > holders[i]; --i) {
            (holders[i - 1], holders[i]) = (holders[i], holders[i - 1]);
        }
    }

    function operatorOf(address account) internal pure returns (address) {
        return address(uint160(account) ^ 0xFFFF);
    }

    function admit(address account, address operator, uint16 roles) internal {
        vm.prank(registrar);
        participants.admit(account, operator, roles, keccak256(abi.encode("x25519", account)));
    }

    function registerAsset(address holder, bytes32 name, uint8 grade) internal returns (bytes32) {
        vm.prank(holder);
        return assets.register(name, KEY_SPACE, keccak256("policy"), keccak256("root"), keccak256("d"), grade);
    }

    // ---------------------------------------------------------------- hashes of docs/protocol.md

    function word(address account) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(account)));
    }

    function tag(string memory name) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked("shuyao/v1/", name));
    }

    function h(string memory name, bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(tag(name), a, b));
    }

    function h(string memory name, bytes32 a, bytes32 b, bytes32 c) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(tag(name), a, b, c));
    }

    function h(string memory name, bytes32 a, bytes32 b, bytes32 c, bytes32 d)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encodePacked(tag(name), a, b, c, d));
    }

    function lineOf(address holder) internal pure returns (bytes32) {
        return h("line", word(holder), KEY_SPACE);
    }

    function assetOf(address holder) internal pure returns (bytes32) {
        return h("asset", word(holder), NAME);
    }

    function idOf(IComputeLedger.Request memory r) internal view returns (bytes32) {
        bytes32 typeHash = keccak256(
            "Request(address buyer,address broker,bytes32 listing,bytes32 planHash,bytes32 keyX,uint8 keyParity,uint64 rho,uint128 price,uint16 holders,uint16 minHolders,uint16 colluders,uint16 dropouts,uint64 approveBy,uint64 shareBy,uint64 contributeBy,uint64 answerBy,uint256 nonce)"
        );
        return typed(keccak256(abi.encode(typeHash, r)));
    }

    function typed(bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Shuyao"),
                keccak256("1"),
                block.chainid,
                address(ledger)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function acceptance(IComputeLedger.Request memory r, uint256 key) internal view returns (bytes memory) {
        return sign(key, typed(keccak256(abi.encode(keccak256("Accept(bytes32 requestId)"), idOf(r)))));
    }

    // ---------------------------------------------------------------- what holder i says in a request

    function keysOf(bytes32 id, address holder) internal pure returns (IComputeLedger.SessionKeys memory) {
        return IComputeLedger.SessionKeys({
            maskKey: keccak256(abi.encode("mask", id, holder)),
            shareKey: keccak256(abi.encode("share", id, holder)),
            eX: keccak256(abi.encode("e", id, holder)),
            eParity: 2 + uint8(uint160(holder) & 1),
            noiseCommitment: keccak256(abi.encode("noise", id, holder))
        });
    }

    function keysHashOf(bytes32 id, address holder) internal pure returns (bytes32) {
        IComputeLedger.SessionKeys memory k = keysOf(id, holder);
        return keccak256(
            abi.encodePacked(
                tag("keys"),
                assetOf(holder),
                uint256(1),
                k.maskKey,
                k.shareKey,
                k.eX,
                uint256(k.eParity),
                k.noiseCommitment
            )
        );
    }

    function bundleHashOf(bytes32 id, address holder) internal pure returns (bytes32) {
        return keccak256(abi.encode("bundle", id, holder));
    }

    function seedHashOf(bytes32 id, address holder) internal pure returns (bytes32) {
        return keccak256(abi.encode("seed", id, holder));
    }

    /// @dev The holder's address times the generator.
    function commitmentOf(address holder) internal view returns (bytes memory) {
        bytes memory known = _commitments[holder];
        return known.length != 0 ? known : multiple(uint160(holder));
    }

    function multiple(uint256 scalar) internal view returns (bytes memory point) {
        (, point) = address(0x0c).staticcall(abi.encodePacked(generator(), scalar));
    }

    function generator() internal pure returns (bytes memory) {
        return hex"0000000000000000000000000000000017f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb0000000000000000000000000000000008b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1";
    }

    function commitmentHashOf(bytes32 id, address holder) internal view returns (bytes32) {
        return h("commitment", id, word(holder), keccak256(commitmentOf(holder)));
    }

    function contributionOf(bytes32 id, address holder)
        internal
        pure
        returns (IComputeLedger.Contribution memory)
    {
        return IComputeLedger.Contribution({
            line: lineOf(holder),
            keysHash: keysHashOf(id, holder),
            bundleHash: bundleHashOf(id, holder),
            seedHash: seedHashOf(id, holder),
            session: keccak256(abi.encode("session", id)),
            sender: uint16(uint160(holder)),
            payloadHash: keccak256(abi.encode("payload", id, holder))
        });
    }

    function inputHashOf(bytes32 id, address holder) internal pure returns (bytes32) {
        IComputeLedger.Contribution memory c = contributionOf(id, holder);
        return h("message", bytes32(uint256(2)), c.session, bytes32(uint256(c.sender)), c.payloadHash);
    }

    function receiptOf(bytes32 id, address holder, uint256 key) internal pure returns (bytes memory) {
        return sign(key, h("receipt", id, word(holder), inputHashOf(id, holder)));
    }

    function stageOf(bytes32 id, address holder) internal view returns (uint8) {
        return uint8(uint256(ledger.member(id, holder)) >> 248);
    }

    function memberOf(bytes32 id, address holder) internal view returns (IComputeLedger.Member memory m) {
        m = IComputeLedger.Member(holder, lineOf(holder), keysHashOf(id, holder), 0);
        uint8 stage = stageOf(id, holder);
        bytes32 commitmentHash = commitmentHashOf(id, holder);
        if (stage == 2) {
            m.detail = h("shared", bundleHashOf(id, holder), seedHashOf(id, holder), commitmentHash);
        } else if (stage > 2) {
            m.detail = h("contributed", commitmentHash, inputHashOf(id, holder));
        }
    }

    /// @dev All who reached at least that stage, ascending.
    function membersFrom(bytes32 id, uint8 stage)
        internal
        view
        returns (IComputeLedger.Member[] memory members)
    {
        uint256 count = 0;
        for (uint256 i = 0; i < holders.length; ++i) {
            if (stageOf(id, holders[i]) >= stage) ++count;
        }
        members = new IComputeLedger.Member[](count);
        count = 0;
        for (uint256 i = 0; i < holders.length; ++i) {
            if (stageOf(id, holders[i]) >= stage) members[count++] = memberOf(id, holders[i]);
        }
    }

    function roster(IComputeLedger.Request memory r) internal view returns (IComputeLedger.Member[] memory) {
        return membersFrom(idOf(r), 1);
    }

    function survivors(IComputeLedger.Request memory r)
        internal
        view
        returns (IComputeLedger.Member[] memory)
    {
        return membersFrom(idOf(r), 3);
    }

    function sessionOf(IComputeLedger.Request memory r) internal view returns (bytes32) {
        IComputeLedger.Member[] memory members = roster(r);
        bytes32 chain = 0;
        for (uint256 i = 0; i < members.length; ++i) {
            chain = h("roster", chain, word(members[i].holder), members[i].line, members[i].keysHash);
        }
        return keccak256(
            abi.encodePacked(
                tag("session"),
                block.chainid,
                word(address(ledger)),
                idOf(r),
                r.planHash,
                members.length,
                chain
            )
        );
    }

    // ---------------------------------------------------------------- honest steps

    /// @dev n holders, one may drop out if n > 2; deadlines 10 blocks apart.
    function newRequest(uint16 n) internal returns (IComputeLedger.Request memory) {
        uint64 start = uint64(block.number);
        return IComputeLedger.Request({
            buyer: buyer,
            broker: broker,
            listing: listing,
            planHash: keccak256("plan"),
            keyX: keccak256("key"),
            keyParity: 3,
            rho: RHO,
            price: PRICE,
            holders: n,
            minHolders: 1,
            colluders: 0,
            dropouts: 1,
            approveBy: start + 10,
            shareBy: start + 20,
            contributeBy: start + 30,
            answerBy: start + 40,
            nonce: nextNonce++
        });
    }

    function openCall(IComputeLedger.Request memory r, uint256 key) internal view returns (bytes memory) {
        return abi.encodeCall(ledger.open, (r, sign(key, idOf(r))));
    }

    function approveCall(IComputeLedger.Request memory r, uint256 i) internal view returns (bytes memory) {
        return abi.encodeCall(ledger.approve, (r, assetOf(holders[i]), keysOf(idOf(r), holders[i])));
    }

    function shareCall(IComputeLedger.Request memory r, uint256 i) internal view returns (bytes memory) {
        bytes32 id = idOf(r);
        address holder = holders[i];
        return abi.encodeCall(
            ledger.share,
            (
                r,
                lineOf(holder),
                keysHashOf(id, holder),
                bundleHashOf(id, holder),
                seedHashOf(id, holder),
                commitmentHashOf(id, holder)
            )
        );
    }

    function contributeCall(IComputeLedger.Request memory r, uint256 i) internal view returns (bytes memory) {
        bytes32 id = idOf(r);
        bytes memory receipt = receiptOf(id, holders[i], BROKER_KEY);
        return abi.encodeCall(
            ledger.contribute, (r, contributionOf(id, holders[i]), commitmentOf(holders[i]), receipt)
        );
    }

    function sealCall(IComputeLedger.Request memory r) internal view returns (bytes memory) {
        return abi.encodeCall(ledger.seal, (r, roster(r)));
    }

    function closeCall(IComputeLedger.Request memory r) internal view returns (bytes memory) {
        return abi.encodeCall(ledger.close, (r, roster(r)));
    }

    function unmaskCall(IComputeLedger.Request memory r, uint256 i) internal view returns (bytes memory) {
        return abi.encodeCall(ledger.postUnmask, (r, memberOf(idOf(r), holders[i]), unmaskOf(r)));
    }

    function answerCall(IComputeLedger.Request memory r, bytes32 root) internal view returns (bytes memory) {
        return abi.encodeCall(ledger.answer, (r, root));
    }

    function demandCall(IComputeLedger.Request memory r, uint32 chunk) internal view returns (bytes memory) {
        return abi.encodeCall(ledger.demandChunk, (r, chunk));
    }

    function acceptCall(IComputeLedger.Request memory r, uint256 key) internal view returns (bytes memory) {
        return abi.encodeCall(ledger.release, (r, survivors(r), acceptance(r, key)));
    }

    function releaseCall(IComputeLedger.Request memory r) internal view returns (bytes memory) {
        return abi.encodeCall(ledger.release, (r, survivors(r), ""));
    }

    function withholdCall(IComputeLedger.Request memory r) internal view returns (bytes memory) {
        return abi.encodeCall(ledger.withhold, (r, survivors(r)));
    }

    // ---------------------------------------------------------------- making calls

    function attempt(address from, address to, bytes memory data)
        internal
        returns (bool success, bytes memory out)
    {
        vm.prank(from);
        (success, out) = to.call(data);
    }

    function perform(address from, address to, bytes memory data) internal {
        (bool success, bytes memory out) = attempt(from, to, data);
        if (!success) {
            assembly ("memory-safe") {
                revert(add(out, 0x20), mload(out))
            }
        }
    }

    function perform(address from, bytes memory data) internal {
        perform(from, address(ledger), data);
    }

    /// @dev The call must revert with that error.
    function refuse(address from, address to, bytes memory data, bytes4 selector) internal {
        (bool success, bytes memory out) = attempt(from, to, data);
        assertTrue(!success, "the call should have been refused");
        assertEq(bytes32(bytes4(out)), bytes32(selector), "the error's selector");
    }

    function refuse(address from, bytes memory data, bytes4 selector) internal {
        refuse(from, address(ledger), data, selector);
    }

    function open(IComputeLedger.Request memory r) internal {
        perform(r.broker, openCall(r, BUYER_KEY));
    }

    function approve(IComputeLedger.Request memory r, uint256 i) internal {
        perform(holders[i], approveCall(r, i));
    }

    function share(IComputeLedger.Request memory r, uint256 i) internal {
        perform(holders[i], shareCall(r, i));
    }

    function contribute(IComputeLedger.Request memory r, uint256 i) internal {
        perform(holders[i], contributeCall(r, i));
    }

    function seal(IComputeLedger.Request memory r) internal {
        perform(stranger, sealCall(r));
    }

    function postUnmask(IComputeLedger.Request memory r, uint256 i) internal {
        perform(holders[i], unmaskCall(r, i));
    }

    function answer(IComputeLedger.Request memory r, bytes32 root) internal {
        perform(r.broker, answerCall(r, root));
    }

    function accept(IComputeLedger.Request memory r) internal {
        perform(stranger, acceptCall(r, BUYER_KEY));
    }

    /// @dev A well-formed unmask message: shares of seeds for survivors, of mask keys for those who only shared.
    function unmaskOf(IComputeLedger.Request memory r) internal view returns (bytes memory payload) {
        bytes32 id = idOf(r);
        IComputeLedger.Member[] memory members = roster(r);
        for (uint16 i = 0; i < members.length; ++i) {
            uint8 stage = stageOf(id, members[i].holder);
            if (stage < 2) continue;
            payload = abi.encodePacked(payload, i, stage >= 3 ? uint8(1) : uint8(2), keccak256(abi.encode(i)));
        }
        return abi.encodePacked(uint16(payload.length / 35), payload);
    }

    /// @dev Everything of all n holders, up to and with a stage: 1 approved, 2 shared, 3 contributed, 4 sealed, 5 answered.
    function runTo(uint16 n, uint8 stage) internal returns (IComputeLedger.Request memory r) {
        r = newRequest(n);
        open(r);
        for (uint256 i = 0; i < n; ++i) {
            approve(r, i);
        }
        for (uint256 i = 0; i < n && stage >= 2; ++i) {
            share(r, i);
        }
        for (uint256 i = 0; i < n && stage >= 3; ++i) {
            contribute(r, i);
        }
        if (stage >= 4) seal(r);
        if (stage >= 5) answer(r, keccak256("answer"));
    }

    function stateOf(IComputeLedger.Request memory r) internal view returns (uint8) {
        return ledger.status(idOf(r)).state;
    }
}
